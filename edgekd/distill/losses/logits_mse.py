"""The squared difference of the outputs."""

from __future__ import annotations

from typing import ClassVar

import torch

from edgekd.distill.losses.base import LOSSES, Loss, Seen


@LOSSES.register
class LogitsMSE(Loss):
    """The mean over outputs of the squared difference; the temperature has no part in it.

    Source: Ba and Caruana 2014, "Do Deep Nets Really Need to be Deep?", NeurIPS, equation 1, arXiv:1312.6184.
    Deviation: the mean over outputs instead of half the sum, so that the size does not grow with the classes.
    """

    name: ClassVar[str] = "logits-mse"

    def distance(self, seen: Seen) -> torch.Tensor:
        """Return the mean squared difference, `[batch]`."""
        return (seen.student.outputs - seen.teacher.outputs).square().flatten(1).mean(1)
