"""Measuring batch by batch: what a metric keeps of the examples it has seen."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch


class Meter(Protocol):
    """A metric in the making."""

    def update(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Take a batch of outputs and targets in."""

    def value(self) -> float:
        """Return the metric over everything taken in."""

    def standard_error(self) -> float | None:
        """Return the standard error of the value, or `None` where there is no simple one."""


class MeanMeter:
    """The mean of one value an example, `[batch]`; sums are kept in float64."""

    def __init__(self, per_example: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        self._per_example = per_example
        self._samples, self._total, self._squares = 0, 0.0, 0.0

    def update(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Take a batch in."""
        values = self._per_example(outputs, targets).double()
        self._samples += len(values)
        self._total += float(values.sum())
        self._squares += float(values.square().sum())

    def value(self) -> float:
        """Return the mean."""
        return self._total / self._samples

    def standard_error(self) -> float | None:
        """Return the standard deviation over the root of the samples; of a share, the binomial one."""
        variance = max(0.0, self._squares / self._samples - self.value() ** 2)
        return math.sqrt(variance / self._samples)


class RootMeanMeter(MeanMeter):
    """The root of the mean of one value an example."""

    def value(self) -> float:
        """Return the root of the mean."""
        return math.sqrt(super().value())

    def standard_error(self) -> float | None:
        """Return the mean's standard error, carried through the root to first order."""
        root = self.value()
        variance = max(0.0, self._squares / self._samples - root**4)
        return math.sqrt(variance / self._samples) / (2.0 * root) if root else 0.0
