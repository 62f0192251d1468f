"""Which channels are active together, within a layer."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F

from edgekd.distill.features import positions, same_size
from edgekd.distill.losses.base import LOSSES, Loss, Reads, Seen


@LOSSES.register
class Gram(Loss):
    """The squared difference of the Gram matrices over positions; channels need not be as many.

    Each channel's map is a sample, and the distance is the maximum mean discrepancy between the two networks' samples
    under the kernel `(x y)^2`, which equals the distance of the Gram matrices `F F^T / channels`.

    Source: Huang and Wang 2017, "Like What You Like: Knowledge Distill via Neuron Selectivity Transfer", section 4,
    with the polynomial kernel (d = 2, c = 0), arXiv:1707.01219; the Gram matrix of Gatys, Ecker and Bethge 2015,
    arXiv:1508.06576, is the one over channels instead. No deviation.
    """

    name: ClassVar[str] = "gram"
    reads: ClassVar[Reads] = "each"

    def distance(self, seen: Seen) -> torch.Tensor:
        """Return the squared discrepancy, `[batch]`."""
        student, teacher = same_size(self.name, seen.student.features[0], seen.teacher.features[0])
        ours, theirs = (F.normalize(positions(x), dim=1) for x in (student, teacher))
        # Without the matrices over positions, which are large: the square of X X^T is that of X^T X.
        difference = _kernel(ours, ours) + _kernel(theirs, theirs) - 2.0 * _kernel(ours, theirs)
        return difference.clamp(min=0.0)


def _kernel(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (x.transpose(1, 2) @ y).square().mean((1, 2))
