"""The teacher's feature itself, matched by the student's through an adapter."""

from __future__ import annotations

from typing import ClassVar

import torch

from edgekd.distill.features import same_channels, same_size
from edgekd.distill.losses.base import LOSSES, Depth, Loss, Reads, Seen


@LOSSES.register
class Hint(Loss):
    """Half the mean squared difference of the features.

    Source: Romero, Ballas, Kahou, Chassang, Gatta and Bengio 2015, "FitNets: Hints for Thin Deep Nets", ICLR,
    equation 3, arXiv:1412.6550. Deviations: the mean over elements instead of the sum, so that the size does not depend
    on the layer; trained together with the other losses instead of in a stage before them (the schedule `hint-first`
    comes near it).
    """

    name: ClassVar[str] = "hint"
    reads: ClassVar[Reads] = "each"
    aligned: ClassVar[bool] = True
    suits: ClassVar[Depth] = "shallow"

    def distance(self, seen: Seen) -> torch.Tensor:
        """Return half the mean squared difference, `[batch]`."""
        student, teacher = same_size(self.name, seen.student.features[0], seen.teacher.features[0])
        same_channels(self.name, student, teacher)
        return 0.5 * (student - teacher).square().flatten(1).mean(1)
