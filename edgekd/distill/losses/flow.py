"""How a network goes on from one layer to a later one."""

from __future__ import annotations

from typing import ClassVar

import torch

from edgekd.distill.features import positions, same_channels, same_size
from edgekd.distill.losses.base import LOSSES, Loss, Reads, Seen


@LOSSES.register
class Flow(Loss):
    """The mean squared difference of the matrices `F1^T F2 / positions` of two consecutive layers.

    Source: Yim, Joo, Bae and Kim 2017, "A Gift from Knowledge Distillation: Fast Optimization, Network Minimization and
    Transfer Learning", CVPR, equations 1 and 2. Deviations: the mean over the matrix instead of the sum; maps of other
    sizes are averaged down instead of max-pooled; trained together with the other losses instead of before them.
    """

    name: ClassVar[str] = "flow"
    reads: ClassVar[Reads] = "consecutive"
    aligned: ClassVar[bool] = True

    def distance(self, seen: Seen) -> torch.Tensor:
        """Return the mean squared difference of the flow matrices, `[batch]`."""
        ours, theirs = self._matrix(seen.student.features), self._matrix(seen.teacher.features)
        for student, teacher in zip(seen.student.features, seen.teacher.features, strict=True):
            same_channels(self.name, student, teacher)
        return (ours - theirs).square().mean((1, 2))

    def _matrix(self, features: tuple[torch.Tensor, ...]) -> torch.Tensor:
        first, second = same_size(self.name, *features)
        return positions(first).transpose(1, 2) @ positions(second) / positions(first).shape[1]
