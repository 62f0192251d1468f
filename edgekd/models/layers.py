"""Layers that rewriting puts in the place of shape arithmetic, so that pruning can see and change them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class ChannelPad(nn.Module):
    """Add `front` zero channels before and `back` after those of `[batch, channels, height, width]`.

    The parameter-free shortcut of CIFAR ResNets (He et al., 2016, section 4.2, option A). As arithmetic in a graph
    its counts are constants that a pruned network would no longer fit.
    """

    def __init__(self, front: int, back: int) -> None:
        super().__init__()
        self.front = front
        self.back = back

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return `[batch, front + channels + back, height, width]`."""
        return F.pad(x, [0, 0, 0, 0, self.front, self.back])

    def extra_repr(self) -> str:
        """Show the counts in the module's text."""
        return f"front={self.front}, back={self.back}"
