"""Rank the units of each group, once, so that every width is a prefix of the order."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import torch
from torch import fx

from edgekd.prune.groups import ChannelMap
from edgekd.prune.slicing import is_layer, output_axis, stored_tensor
from edgekd.prune.tracer import Ids


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
        squares = _squares(network, path, units)
        if squares is None:
            continue
        present = np.unique(units)
        layer = np.bincount(np.broadcast_to(units, squares.shape).ravel(), squares.ravel(), minlength=len(scores))
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


def _squares(network: fx.GraphModule, path: str, units: Ids) -> npt.NDArray[np.float64] | None:
    """The sum of squared weights of each output channel, or every square of a stored tensor, in float64."""
    if not is_layer(network, path):
        stored: npt.NDArray[np.float64] = stored_tensor(network, path).detach().double().square().numpy()
        return stored
    module = network.get_submodule(path)
    weight = getattr(module, "weight", None)
    if not isinstance(weight, torch.Tensor):
        return None
    axis = output_axis(module)
    # A transposed convolution has its outputs in the second axis, those of one group after the other.
    moved = (
        weight.detach().double().movedim(axis, 0).flatten(1) if weight.dim() > 1 else weight.detach().double()[:, None]
    )
    squares: npt.NDArray[np.float64] = moved.square().sum(1).numpy()
    return np.tile(squares, len(units) // len(squares))
