"""The softened outputs of the teacher, as the task at hand softens them."""

from __future__ import annotations

from typing import ClassVar

import torch

from edgekd.distill.losses.base import LOSSES, Loss, Seen


@LOSSES.register
class SoftTarget(Loss):
    """The task's own distance from the teacher: for classification `T^2 KL(teacher || student)`.

    Source: `edgekd.tasks.soft_target` for classification and segmentation; `edgekd.tasks` for the others.
    """

    name: ClassVar[str] = "soft-target"

    def distance(self, seen: Seen) -> torch.Tensor:
        """Return the distance of the outputs, `[batch]`."""
        return seen.task.distillation(seen.student.outputs, seen.teacher.outputs, seen.temperature)
