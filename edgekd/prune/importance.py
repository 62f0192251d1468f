"""Rank the units of each group, once, so that every width is a prefix of the order."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import fx, nn

from edgekd.prune.groups import ChannelMap


def rank_units(network: fx.GraphModule, channels: ChannelMap) -> ChannelMap:
    """Return the map with each prunable group's `order` set by group L2 magnitude, most important first.

    A unit's importance is the root of the summed squares of all weights that make its channels, each layer's share
    divided by that layer's mean over units, so that layers of different scale weigh the same. The batch norm that
    follows a convolution takes part with its scale. Ties are broken by position.

    Source: Li et al. 2017, "Pruning Filters for Efficient ConvNets", ICLR, arXiv:1608.08710 (filter magnitude), summed
    over coupled layers as in Fang et al. 2023, "DepGraph", CVPR, arXiv:2301.12900, section 3.3; deviation: L2, and
    input-side weights are left out, since their magnitude says how the next layer uses other channels too.
    """
    scores = np.zeros(len(channels.group_of))
    for path, units in channels.outputs.items():
        squares = _squares_by_output(network.get_submodule(path))
        if squares is None:
            continue
        present = np.unique(units)
        layer = np.bincount(units, weights=squares, minlength=len(scores))
        mean = layer[present].mean()
        if mean > 0:
            scores += layer / mean
    groups = []
    for index, group in enumerate(channels.groups):
        members = np.flatnonzero(channels.group_of == index)
        by_position = members[np.argsort(channels.position_of[members])]
        order = np.argsort(-scores[by_position], kind="stable")
        groups.append(dataclasses.replace(group, order=tuple(int(i) for i in order)))
    return dataclasses.replace(channels, groups=tuple(groups))


def _squares_by_output(module: nn.Module) -> np.ndarray[tuple[int], np.dtype[np.float64]] | None:
    """The sum of squared weights of each output channel, `[channels]`, in float64."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, torch.Tensor):
        return None
    squares: np.ndarray[tuple[int], np.dtype[np.float64]] = (
        weight.detach().double().flatten(1).square().sum(1).numpy()
        if weight.dim() > 1
        else weight.detach().double().square().numpy()
    )
    return squares
