"""What a distillation loss is: a module that compares a student with its teacher, one value an example."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from edgekd.errors import DistillError
from edgekd.registry import Registry
from edgekd.tasks import CLASSIFICATION, Task

Reads = Literal["outputs", "each", "last", "consecutive"]
Depth = Literal["shallow", "middle", "deep"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What one network gave for a batch: outputs `[batch, ...]` and the features a loss reads, `[batch, ...]` each."""

    outputs: torch.Tensor
    features: tuple[torch.Tensor, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A batch as a loss sees it.

    The two networks may have seen different inputs (other sensors, other views) of the same examples, in one order.

    Attributes:
        student: What the student gave; gradients go here alone.
        teacher: What the teacher gave for the same examples.
        targets: `[batch, ...]`, as the task reads them.
        temperature: T > 0, for the losses that soften.
        task: What the outputs mean.
    """

    student: Side
    teacher: Side
    targets: torch.Tensor
    temperature: float = 1.0
    task: Task = CLASSIFICATION


class Loss(nn.Module):
    """A distance of the student from the teacher: `[batch]`, at least 0, lower is better.

    A loss may have parameters, which are trained with the student and dropped with it, and buffers, which are part of
    a checkpoint. Subclasses write `distance`; half precision and the teacher's gradient are dealt with here.

    Attributes:
        name: What recipes call it.
        reads: The `outputs`; the features of `each` pair of layers, of the `last` pair alone, or of two `consecutive`
            pairs together.
        aligned: Whether the student's features need as many channels as the teacher's, which an adapter gives them.
        suits: Which depth the `by-depth` schedule uses it at.
        is_zero_at_equality: Whether it vanishes for a student that gives what the teacher gives. Those that compare
            examples with each other rather than with their own teacher are only small there.
    """

    name: ClassVar[str]
    reads: ClassVar[Reads] = "outputs"
    aligned: ClassVar[bool] = False
    suits: ClassVar[Depth] = "middle"
    is_zero_at_equality: ClassVar[bool] = True

    def build(self, student: tuple[torch.Tensor, ...], teacher: tuple[torch.Tensor, ...]) -> None:
        """Make what depends on sizes, from features as the loss will read them; called once, before training."""

    def distance(self, seen: Seen) -> torch.Tensor:
        """Return one value an example, `[batch]`, from tensors of single or double precision."""
        raise NotImplementedError

    def forward(self, seen: Seen) -> torch.Tensor:
        """Return one value an example, `[batch]`, without gradient to the teacher.

        Raises:
            DistillError: Student and teacher gave shapes that this loss cannot compare.
        """
        student, teacher = _side(seen.student), _side(seen.teacher, is_frozen=True)
        if self.reads == "outputs" and student.outputs.shape != teacher.outputs.shape:
            raise mismatch(
                self.name, f"outputs of the teacher's shape {_shown(teacher.outputs)}", _shown(student.outputs)
            )
        return self.distance(replace(seen, student=student, teacher=teacher))


LOSSES: Registry[Loss] = Registry("distillation loss", "edgekd.losses", "edgekd.distill.losses")


def make_loss(name: str, options: dict[str, Any], where: str) -> Loss:
    """Return a loss with its options.

    Raises:
        UnknownNameError: There is no such loss, or it has no such option.
        RecipeError: An option has a value it cannot have.
        MissingDependencyError: It needs a library that is not installed.
    """
    from edgekd.distill.options import construct

    return construct(LOSSES.load(name, where), options, where)


def mismatch(loss: str, expected: str, found: str) -> DistillError:
    """Return the error for a student and a teacher whose shapes a loss cannot compare."""
    return DistillError(
        f"loss '{loss}'",
        expected=expected,
        found=found,
        hint="Choose other layers, an adapter, or a loss that compares other things: docs/distillation.md.",
    )


def _side(side: Side, *, is_frozen: bool = False) -> Side:
    def read(x: torch.Tensor) -> torch.Tensor:
        # Squares and products with T squared overflow half precision.
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        return x.detach() if is_frozen else x

    return Side(outputs=read(side.outputs), features=tuple(map(read, side.features)))


def _shown(x: torch.Tensor) -> str:
    return f"[batch, {', '.join(map(str, x.shape[1:]))}]"
