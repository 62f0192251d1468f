"""Which examples of a batch are alike."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F

from edgekd.distill.losses.base import LOSSES, Depth, Loss, Reads, Seen


@LOSSES.register
class Similarity(Loss):
    """The squared difference of an example's normalized similarities to its batch, mean over partners.

    The sizes of the features need not agree. In a batch of one both are 1, and the loss is 0.

    Source: Tung and Mori 2019, "Similarity-Preserving Knowledge Distillation", ICCV, section 3,
    arXiv:1907.09682. No deviation: the mean over the batch is their loss.
    """

    name: ClassVar[str] = "similarity"
    reads: ClassVar[Reads] = "last"
    suits: ClassVar[Depth] = "deep"

    def distance(self, seen: Seen) -> torch.Tensor:
        """Return the mean over partners, `[batch]`."""
        return (_rows(seen.student.features[0]) - _rows(seen.teacher.features[0])).square().mean(1)


def _rows(feature: torch.Tensor) -> torch.Tensor:
    """Return the inner products with all examples, each row of unit length, `[batch, batch]`."""
    # Scaled first, which rows of unit length undo: products of large features would overflow.
    flat = feature.flatten(1)
    flat = flat / flat.detach().abs().max().clamp(min=1e-12)
    return F.normalize(flat @ flat.T, dim=1)
