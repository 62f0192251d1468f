"""Where a network looks: the energy of a feature at every position."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F

from edgekd.distill.features import positions, same_size
from edgekd.distill.losses.base import LOSSES, Loss, Reads, Seen


@LOSSES.register
class Attention(Loss):
    """The mean squared difference of the normalized attention maps; channels need not be as many.

    Source: Zagoruyko and Komodakis 2017, "Paying More Attention to Attention", ICLR, equation 2 with the map
    `sum of squares over channels`, arXiv:1612.03928. Deviation: the squared difference, averaged over positions, as in
    the authors' code, instead of its norm, whose gradient has no limit at equality.
    """

    name: ClassVar[str] = "attention"
    reads: ClassVar[Reads] = "each"

    def distance(self, seen: Seen) -> torch.Tensor:
        """Return the mean squared difference of the maps, `[batch]`."""
        student, teacher = same_size(self.name, seen.student.features[0], seen.teacher.features[0])
        return (_map(student) - _map(teacher)).square().mean(1)


def _map(feature: torch.Tensor) -> torch.Tensor:
    """Return the normalized energy, `[batch, positions]`."""
    return F.normalize(positions(feature).square().mean(2), dim=1)
