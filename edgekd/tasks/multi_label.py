"""Any number of labels out of several, each of them yes or no."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F

from edgekd.records import TensorSpec
from edgekd.tasks.meters import Meter
from edgekd.tasks.reading import Array, describe_array, refuse, require_vector
from edgekd.tasks.task import MetricKind, ParityRule, Targets


def bernoulli_divergence(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return `T^2` times the mean over labels of the softened `KL(teacher || student)`, `[batch]`.

    Every label is a distribution of its own over yes and no. No gradient reaches the teacher; the factor is that of
    `edgekd.tasks.soft_target`.

    Args:
        student: Logits, `[batch, labels]`.
        teacher: Logits, `[batch, labels]`.
        temperature: T > 0; larger is softer.
    """
    ours, theirs = student.float() / temperature, teacher.detach().float() / temperature
    yes, no = torch.sigmoid(theirs), torch.sigmoid(-theirs)
    divergence = yes * (F.logsigmoid(theirs) - F.logsigmoid(ours)) + no * (F.logsigmoid(-theirs) - F.logsigmoid(-ours))
    # The two terms cancel to rounding noise where the distributions are equal.
    return divergence.clamp(min=0.0).mean(1) * temperature**2


class _F1Meter:
    """Labels rightly given, wrongly given and missed, over all labels and samples."""

    def __init__(self) -> None:
        self._hits, self._given, self._true = 0, 0, 0

    def update(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Take a batch in."""
        given, true = outputs > 0, targets > 0.5
        self._hits += int((given & true).sum())
        self._given += int(given.sum())
        self._true += int(true.sum())

    def value(self) -> float:
        """Return the share; 1 if there is no label and none was given."""
        return 2 * self._hits / (self._given + self._true) if self._given + self._true else 1.0

    def standard_error(self) -> float | None:
        """Return nothing: labels of one sample depend on each other."""
        return None


@dataclass(frozen=True, slots=True)
class MultiLabel:
    """Binary cross-entropy, micro-averaged F1 at a probability of one half, softened Bernoulli divergence.

    `y` is 0 or 1, `[samples, labels]`; outputs are logits `[batch, labels]`.
    """

    name: ClassVar[str] = "multi-label"
    source: ClassVar[Literal["values"]] = "values"
    output: ClassVar[str] = "logits"
    metric: ClassVar[MetricKind] = MetricKind(name="F1", higher_is_better=True, unit="share")
    parity: ClassVar[ParityRule] = ParityRule(measure="labels equal", metric_tolerance=0.01, least_agreement=0.99)

    def read_targets(self, where: str, y: Array, train: torch.Tensor | None) -> torch.Tensor:  # noqa: ARG002  (protocol)
        """Return labels as float32 `[samples, labels]`."""
        is_binary = y.dtype.kind in "biuf" and y.size > 0 and bool(np.isin(y, (0, 1)).all())
        if y.ndim != 2 or not is_binary:
            refuse(
                where,
                expected="labels of 0 and 1, [samples, labels]",
                found=describe_array(y),
                hint="Give each label a column; for one class a sample use --task classification.",
            )
        return torch.from_numpy(y.astype(np.float32))

    def check(self, model: str, output: TensorSpec, targets: Targets) -> None:
        """Make sure that there is a logit for every label."""
        require_vector(model, output, targets, axis="labels", hint="Give the data this network was trained on.")

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean over labels of the binary cross-entropy in nats, `[batch]`."""
        return F.binary_cross_entropy_with_logits(outputs, targets, reduction="none").mean(1)

    def distillation(self, outputs: torch.Tensor, teacher_outputs: torch.Tensor, temperature: float) -> torch.Tensor:
        """Return the divergence from the teacher's softened labels, `[batch]`."""
        return bernoulli_divergence(outputs, teacher_outputs, temperature)

    def meter(self) -> Meter:
        """Return a meter of micro-averaged F1."""
        return _F1Meter()

    def agreement(self, ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
        """Return the share of labels that both give or both leave out, `[batch]`."""
        return ((ours > 0) == (theirs > 0)).double().mean(1)


MULTI_LABEL = MultiLabel()
