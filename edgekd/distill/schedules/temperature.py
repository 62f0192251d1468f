"""How the temperature changes during training."""

from __future__ import annotations

import math
from typing import ClassVar

import torch

from edgekd.distill.schedules.base import TEMPERATURES, Temperature


@TEMPERATURES.register
class ConstantTemperature(Temperature):
    """That of the recipe throughout."""

    name: ClassVar[str] = "constant"

    def at(self, start: float, progress: float, student_loss: torch.Tensor) -> float:  # noqa: ARG002  # the same at any
        """Return the start."""
        return start


@TEMPERATURES.register
class CosineTemperature(Temperature):
    """From that of the recipe to `end` along half a cosine.

    Source: Jafari, Rezagholizadeh, Sharma and Ghodsi 2021, "Annealing Knowledge Distillation", EACL, arXiv:2104.07163,
    for lowering the temperature. Deviation: a cosine, and the loss keeps its form.
    """

    name: ClassVar[str] = "cosine"

    def __init__(self, *, end: float = 1.0) -> None:
        super().__init__()
        if end <= 0:
            raise ValueError("an end above 0")
        self.end = end

    def at(self, start: float, progress: float, student_loss: torch.Tensor) -> float:  # noqa: ARG002  # the protocol's
        """Return the point on the cosine."""
        return self.end + (start - self.end) * 0.5 * (1.0 + math.cos(math.pi * progress))


@TEMPERATURES.register
class AdaptiveTemperature(Temperature):
    """That of the recipe times the student's loss over its first loss, within bounds: softer while the student errs.

    The loss is a moving average over batches.

    Args:
        low: Lowest temperature.
        high: Highest temperature.
        decay: Of the moving average.

    Source: of our own making; Li et al. 2023, "Curriculum Temperature for Knowledge Distillation", AAAI,
    arXiv:2211.16231, learns the temperature by an adversary instead.
    """

    name: ClassVar[str] = "adaptive"
    first: torch.Tensor
    average: torch.Tensor

    def __init__(self, *, low: float = 1.0, high: float = 8.0, decay: float = 0.9) -> None:
        super().__init__()
        if not 0 < low <= high or not 0 <= decay < 1:
            raise ValueError("0 < low <= high, and a decay from 0 up to 1")
        self.low, self.high, self.decay = low, high, decay
        self.register_buffer("first", torch.tensor(0.0, dtype=torch.float64))
        self.register_buffer("average", torch.tensor(0.0, dtype=torch.float64))

    def at(self, start: float, progress: float, student_loss: torch.Tensor) -> float:  # noqa: ARG002  # the protocol's
        """Return the temperature, and take the loss into the average."""
        loss = student_loss.detach().double()
        if float(self.first) == 0.0:
            self.first.copy_(loss.clamp(min=1e-12))
            self.average.copy_(loss)
        self.average.lerp_(loss, 1.0 - self.decay)
        return min(self.high, max(self.low, start * float(self.average / self.first)))
