"""What a task is: how targets are read, what is minimized, what is reported, and when two networks agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import torch

from edgekd.records import Metric, TensorSpec
from edgekd.tasks.meters import Meter
from edgekd.tasks.reading import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricKind:
    """What is reported: a `share` in [0, 1], printed in percent, or a `number`."""

    name: str
    higher_is_better: bool
    unit: Literal["share", "number"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityRule:
    """When an artifact computes what the student computes.

    Attributes:
        measure: What the agreement is a share of, as words that follow a count of samples.
        least_agreement: The smallest mean of `Task.agreement` that passes; 0 leaves it to the metric.
        metric_tolerance: The largest difference of the metric that passes.
        is_relative: Whether that difference is a share of the student's metric.
    """

    measure: str
    metric_tolerance: float
    least_agreement: float = 0.0
    is_relative: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """The targets of a data set: where they come from, their class names if they have any, and them by part."""

    where: str
    classes: tuple[str, ...]
    parts: Mapping[str, torch.Tensor]


class Task(Protocol):
    """What a network is for. Losses give one value an example; the training loop reduces and weights them."""

    @property
    def name(self) -> str:
        """What `--task` calls it."""

    @property
    def source(self) -> Literal["classes", "values", "teacher"]:
        """Where targets come from.

        `classes` are int64 `[samples]`, from class folders or `y`, and splits are stratified by them; `values` are
        `y` in any other form; `teacher` are the original network's outputs, and the data need no `y`.
        """

    @property
    def output(self) -> str:
        """What artifacts call the network's output."""

    @property
    def metric(self) -> MetricKind:
        """What is reported."""

    @property
    def parity(self) -> ParityRule:
        """When an artifact passes."""

    def read_targets(self, where: str, y: Array, train: torch.Tensor | None) -> torch.Tensor:
        """Return an array of the data as targets `[samples, ...]`; `train` are those of the training part.

        Raises:
            DataError: It has another shape, type or range.
        """

    def check(self, model: str, output: TensorSpec, targets: Targets) -> None:
        """Make sure that the network answers what the targets ask.

        Raises:
            ModelError: The output has a shape that is none of this task.
            DataError: The targets do not fit the output.
        """

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the distance from the targets, `[batch]`; lower is better."""

    def distillation(self, outputs: torch.Tensor, teacher_outputs: torch.Tensor, temperature: float) -> torch.Tensor:
        """Return the distance from the teacher, `[batch]`: zero at equality, without gradient to the teacher."""

    def meter(self) -> Meter:
        """Return an empty meter of the metric."""

    def agreement(self, ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
        """Return how far two networks give the same answer, float64 `[batch]` in [0, 1]."""


def make_metric(task: Task, meter: Meter, *, samples: int, split: str) -> Metric:
    """Return what a meter has measured, with its name, direction and sample count."""
    kind = task.metric
    return Metric(
        value=meter.value(),
        samples=samples,
        split=split,
        name=kind.name,
        higher_is_better=kind.higher_is_better,
        unit=kind.unit,
        standard_error=meter.standard_error(),
    )
