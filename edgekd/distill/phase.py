"""What a phase of training is set to, and what each of its epochs gave."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from edgekd.records import Metric
from edgekd.records.distillation import PLAIN, Term


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """The settings of a phase.

    `soft_weight` is the weight of terms that have none; the task's own loss has the rest, and no share where the
    targets are the teacher's outputs. `span` is the part of the whole training that the phase is, for schedules that
    go on over several. With a precision of `bf16` the
    convolutions and matrix products of a forward and backward pass are in bfloat16; weights, batch norm and losses stay
    in fp32.
    """

    name: str
    epochs: int
    learning_rate: float
    seed: int
    batch_size: int = 128
    momentum: float = 0.9
    weight_decay: float = 1e-4
    temperature: float = 4.0
    soft_weight: float = 0.7
    clip_norm: float = 5.0
    ema_decay: float = 0.998
    augmentations: tuple[str, ...] = ()
    precision: Literal["fp32", "bf16"] = "fp32"
    teacher_precision: Literal["fp32", "bf16"] = "fp32"
    terms: tuple[Term, ...] = PLAIN
    balance: bool = False
    curriculum: bool = False
    span: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """What one epoch gave.

    Attributes:
        epoch: Its number, from 1.
        loss: The mean training loss.
        accuracy: The averaged network's metric on `validation`.
        scalars: The mean over its steps of every term's loss, weight and temperature.
    """

    epoch: int
    loss: float
    accuracy: Metric
    scalars: dict[str, float] = field(default_factory=dict)
