"""How the examples of a batch lie to each other: distances of pairs, angles of triples."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F

from edgekd.distill.features import vectors
from edgekd.distill.losses.base import LOSSES, Depth, Loss, Reads, Seen


@LOSSES.register
class RelationalDistance(Loss):
    """The Huber distance of the normalized distances from an example to the others of its batch, mean over partners.

    A batch of one has no partners, and gives 0.

    Source: Park, Kim, Lu and Cho 2019, "Relational Knowledge Distillation", CVPR, section 3.2.1, arXiv:1904.05068.
    Deviation: the mean over pairs instead of the sum. The authors add 25 times this and 50 times the angle.
    """

    name: ClassVar[str] = "relational-distance"
    reads: ClassVar[Reads] = "last"
    suits: ClassVar[Depth] = "deep"

    def distance(self, seen: Seen) -> torch.Tensor:
        """Return the mean over partners, `[batch]`."""
        ours, theirs = (_distances(vectors(side.features[0])) for side in (seen.student, seen.teacher))
        return F.smooth_l1_loss(ours, theirs, reduction="none").sum(1) / max(1, len(ours) - 1)


@LOSSES.register
class RelationalAngle(Loss):
    """The Huber distance of the cosines of the angles that two others form at an example, mean over pairs of others.

    A batch of less than three has no angles, and gives 0.

    Source: as `RelationalDistance`, section 3.2.2. Deviation: the mean over pairs instead of the sum.
    """

    name: ClassVar[str] = "relational-angle"
    reads: ClassVar[Reads] = "last"
    suits: ClassVar[Depth] = "deep"

    def distance(self, seen: Seen) -> torch.Tensor:
        """Return the mean over pairs of others, `[batch]`."""
        ours, theirs = (_cosines(vectors(side.features[0])) for side in (seen.student, seen.teacher))
        batch = len(ours)
        # The angle of a direction with itself is 0 in both, so the diagonal adds nothing.
        return F.smooth_l1_loss(ours, theirs, reduction="none").sum((1, 2)) / max(1, (batch - 1) * (batch - 2))


def _distances(x: torch.Tensor) -> torch.Tensor:
    """Return the distances over their mean, `[batch, batch]` with zeros on the diagonal."""
    squared = (x[:, None] - x[None]).square().sum(2)
    others = ~torch.eye(len(x), dtype=torch.bool, device=x.device)
    # The root has no gradient at 0, where equal examples are.
    distances = torch.where(others, squared.clamp(min=1e-12), 1.0).sqrt() * others
    return distances / (distances.sum() / max(1, len(x) * (len(x) - 1))).clamp(min=1e-12)


def _cosines(x: torch.Tensor) -> torch.Tensor:
    """Return the cosine at each example between each two others, `[batch, batch, batch]`, vertex first."""
    directions = F.normalize(x[None] - x[:, None], dim=2)
    return directions @ directions.transpose(1, 2)
