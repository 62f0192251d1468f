"""What schedules are: of a term's weight, and of the temperature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from edgekd.distill.losses import Depth
from edgekd.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When, and for which loss at which layer, a weight is asked for.

    Attributes:
        progress: Share of the training that is over, from 0 to 1 at the last step.
        is_of_features: Whether the loss compares features; others compare outputs, or are the task's own.
        suits: The depth the loss is best at.
        depth: How deep the layer lies, in (0, 1]; 1 for outputs.
        capacity: Parameters of the student over those of the teacher.
    """

    progress: float
    is_of_features: bool = False
    suits: Depth = "middle"
    depth: float = 1.0
    capacity: float = 1.0


class Schedule:
    """The factor of a term's weight at a moment, at least 0."""

    name: ClassVar[str]

    def factor(self, moment: Moment) -> float:
        """Return what the weight is multiplied with."""
        raise NotImplementedError


class Temperature(nn.Module):
    """The temperature of a step, from that of the recipe; buffers are part of a checkpoint."""

    name: ClassVar[str]

    def at(self, start: float, progress: float, student_loss: torch.Tensor) -> float:
        """Return the temperature, above 0.

        Args:
            start: What the recipe says.
            progress: Share of the training that is over.
            student_loss: The task's own loss of the batch, or the distance from the teacher if there is none; a scalar.
        """
        raise NotImplementedError


SCHEDULES: Registry[Schedule] = Registry("schedule", "edgekd.schedules", "edgekd.distill.schedules")
TEMPERATURES: Registry[Temperature] = Registry(
    "temperature schedule", "edgekd.temperatures", "edgekd.distill.schedules"
)
