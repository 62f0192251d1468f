"""Layers without weights whose constants depend on channel counts, so that pruning can narrow them.

As plain operators in a graph their counts are constants that a pruned network would no longer fit.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class ChannelPad(nn.Module):
    """Add `front` zero channels before and `back` after those of `[batch, channels, height, width]`.

    The parameter-free shortcut of CIFAR ResNets (He et al., 2016, section 4.2, option A).
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


class Slice(nn.Module):
    """Take `start` to `stop` in steps of `step` along one axis of a tensor, the batch excepted."""

    def __init__(self, axis: int, start: int, stop: int, step: int = 1) -> None:
        super().__init__()
        self.axis = axis
        self.start = start
        self.stop = stop
        self.step = step

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the part."""
        return x[(slice(None),) * self.axis + (slice(self.start, self.stop, self.step),)]

    def extra_repr(self) -> str:
        """Show the constants in the module's text."""
        return f"axis={self.axis}, {self.start}:{self.stop}:{self.step}"


class Reshape(nn.Module):
    """Give a tensor these sizes; -1 stands for the one that depends on the batch."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.sizes = sizes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the same values in the new shape."""
        return x.reshape(self.sizes)

    def extra_repr(self) -> str:
        """Show the sizes in the module's text."""
        return f"sizes={self.sizes}"


class ChannelShuffle(nn.Module):
    """Put the channels of `[batch, channels, ...]` in another order: output channel `i` is input channel `order[i]`.

    Source: Zhang et al. 2018, "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices",
    CVPR, section 3.1, arXiv:1707.01083. As an order rather than a transposition of groups it fits any channels that
    pruning leaves.
    """

    order: torch.Tensor

    def __init__(self, order: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("order", order.to(torch.int64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the channels in that order."""
        return x.index_select(1, self.order)
