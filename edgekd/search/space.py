"""The widths a search may choose from, and the network's costs for a whole population of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import fx, nn

from edgekd.hardware.cost import Operators
from edgekd.prune.groups import ChannelMap, Ids
from edgekd.records import Plan

Widths = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthSpace:
    """One whole number per group: `choices[g]` are the widths group `g` may have, ascending; the last is full."""

    names: tuple[str, ...]
    choices: tuple[tuple[int, ...], ...]

    def widths(self, genes: npt.NDArray[np.int64]) -> Widths:
        """Return the widths that genes (positions among the choices) stand for, both `[plans, groups]`."""
        columns = [np.asarray(choices)[genes[:, g]] for g, choices in enumerate(self.choices)]
        return np.stack(columns, axis=1)

    def plan(self, widths: npt.NDArray[np.int64]) -> Plan:
        """Return the plan with these widths, `[groups]`."""
        return Plan(widths=tuple(zip(self.names, (int(w) for w in widths), strict=True)))

    def uniform(self, ratio: float) -> npt.NDArray[np.int64]:
        """Return the genes of the widths nearest to `ratio` of the full ones, `[groups]`."""
        return np.array([int(np.argmin([abs(w - ratio * c[-1]) for w in c])) for c in self.choices])


def width_space(channels: ChannelMap, multiple: int) -> WidthSpace:
    """Return the space in steps of the target's channel multiple; a group of fewer units stays whole.

    A unit of `k` channels per layer (as in grouped convolutions) needs steps of only `multiple / gcd(multiple, k)`.
    """
    choices = []
    for index, group in enumerate(channels.prunable):
        channels_per_unit = _channels_per_unit(channels, index)
        step = multiple // math.gcd(multiple, channels_per_unit)
        choices.append((*range(step, group.units, step), group.units))
    return WidthSpace(names=tuple(g.name for g in channels.prunable), choices=tuple(choices))


def _channels_per_unit(channels: ChannelMap, index: int) -> int:
    group = channels.groups[index]
    producer = next(member for member in group.members if member.endswith(".out")).removesuffix(".out")
    units = channels.outputs[producer]
    return int((channels.group_of[units] == index).sum()) // group.units


@dataclass(frozen=True, slots=True, kw_only=True)
class _Count:
    """The channels of one side of an operator as `fixed + widths @ per_width`."""

    fixed: int
    per_width: npt.NDArray[np.int64]

    def of(self, widths: Widths) -> npt.NDArray[np.int64]:
        counts: npt.NDArray[np.int64] = self.fixed + widths @ self.per_width
        return counts


def count_operators(network: fx.GraphModule, channels: ChannelMap, widths: Widths) -> Operators:
    """Return the operators of the network under each row of `widths` `[plans, prunable groups]`.

    Batch norm and activations are left out: every runtime fuses them into the operator before.
    """
    rows = [row for node in network.graph.nodes if (row := _row(network, channels, node)) is not None]
    names, ops, kernels, strides, groups, sizes, sides, inputs = zip(*rows, strict=True)
    return Operators(
        names=names,
        op=ops,
        kernel_area=np.array(kernels),
        stride=np.array(strides),
        groups=np.array(groups),
        in_pixels=np.array([size[0] for size in sizes]),
        out_pixels=np.array([size[1] for size in sizes]),
        inputs=np.array(inputs),
        in_channels=np.stack([side[0].of(widths) for side in sides], axis=1),
        out_channels=np.stack([side[1].of(widths) for side in sides], axis=1),
    )


_Row = tuple[str, str, int, int, int, tuple[int, int], tuple[_Count, _Count], int]


def _row(network: fx.GraphModule, channels: ChannelMap, node: fx.Node) -> _Row | None:
    if node.op not in ("call_module", "call_function") or not node.all_input_nodes:
        return None
    module = network.get_submodule(str(node.target)) if node.op == "call_module" else None
    if isinstance(module, _FUSED):
        return None
    sources = node.all_input_nodes
    # A sum reads the same channels from each input; a concatenation reads all of them once.
    read = sources if node.target is torch.cat else sources[:1]
    size = (_pixels(sources[0]), _pixels(node))
    sides = (
        _count(channels, np.concatenate([channels.nodes[s.name] for s in read])),
        _count(channels, channels.nodes[node.name]),
    )
    if isinstance(module, (nn.Conv1d, nn.Conv2d)):
        kernel = int(np.prod(module.kernel_size))
        is_depthwise = module.groups > 1 and module.groups == module.in_channels
        op = "depthwise" if is_depthwise else "conv"
        return (node.name, op, kernel, module.stride[0], module.groups, size, sides, 1)
    if isinstance(module, nn.Linear):
        return (node.name, "linear", 1, 1, 1, (1, 1), sides, 1)
    if isinstance(module, (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)):
        kernel = max(1, size[0] // max(1, size[1]))
        return (node.name, "pool", kernel, 1, 1, size, sides, 1)
    is_sum = getattr(node.target, "__name__", "") in ("add", "mul")
    return (node.name, "add" if is_sum else "other", 1, 1, 1, size, sides, len(sources) if is_sum else 1)


_FUSED = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid),
    *(nn.SiLU, nn.Sigmoid, nn.LeakyReLU, nn.Dropout),
)


def _pixels(node: fx.Node) -> int:
    shape = node.meta.get("shape") or ()
    return int(np.prod([size for size in shape[2:] if size is not None], dtype=np.int64))


def _count(channels: ChannelMap, units: Ids) -> _Count:
    prunable = len(channels.prunable)
    per_group = np.bincount(channels.group_of[units], minlength=len(channels.groups)) if len(units) else None
    if per_group is None:
        return _Count(fixed=0, per_width=np.zeros(prunable, dtype=np.int64))
    sizes = np.array([group.units for group in channels.prunable], dtype=np.int64)
    return _Count(fixed=int(per_group[prunable:].sum()), per_width=per_group[:prunable] // sizes)
