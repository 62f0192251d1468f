"""Which examples of a batch are neighbours, as a distribution."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F

from edgekd.distill.features import vectors
from edgekd.distill.losses.base import LOSSES, Depth, Loss, Reads, Seen

_SMALLEST = 1e-7


@LOSSES.register
class Probabilistic(Loss):
    """The divergence of the distributions over an example's neighbours, by `(1 + cosine) / 2`.

    A batch of one has no neighbours, and gives 0.

    Source: Passalis and Tefas 2018, "Learning Deep Representations with Probabilistic Knowledge Transfer", ECCV,
    section 3, with the cosine kernel, arXiv:1803.10837. No deviation: an example is not its own neighbour, as in the
    paper, though the authors' code counts it.
    """

    name: ClassVar[str] = "probabilistic"
    reads: ClassVar[Reads] = "last"
    suits: ClassVar[Depth] = "deep"

    def distance(self, seen: Seen) -> torch.Tensor:
        """Return the divergence of the neighbours, `[batch]`."""
        ours, theirs = (_neighbours(vectors(side.features[0])) for side in (seen.student, seen.teacher))
        return (theirs * (theirs / ours).log()).sum(1).clamp(min=0.0)


def _neighbours(x: torch.Tensor) -> torch.Tensor:
    """Return the probability of each other example given each, `[batch, batch - 1]`."""
    units = F.normalize(x, dim=1)
    others = ~torch.eye(len(x), dtype=torch.bool, device=x.device)
    kernel = ((1.0 + units @ units.T) / 2.0)[others].reshape(len(x), -1).clamp(min=_SMALLEST)
    return kernel / kernel.sum(1, keepdim=True)
