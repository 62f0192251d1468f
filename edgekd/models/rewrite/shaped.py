"""Operators that move values: into layers that can be narrowed, or into functions without channel counts in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from edgekd.models.layers import ChannelPad, ChannelShuffle, Reshape, Slice
from edgekd.models.rewrite.builder import Builder, argument, shape_of, source_of

_aten = torch.ops.aten


def _reshape(builder: Builder, node: fx.Node) -> fx.Node | None:
    """Keep the sizes in a layer, or, where everything but the batch is merged, use `flatten`, which needs none."""
    before, after = shape_of(source_of(node)), shape_of(node)
    if before == after:
        return _same(builder, node)
    if len(after) == 2 and before[0] == after[0] and None not in (*before[1:], *after[1:]):
        return builder.function(torch.flatten, source_of(node), 1)
    shuffled = _shuffle(node)
    if shuffled is not None:
        source, module = shuffled
        return builder.call(node.name, module, source)
    if after.count(None) > 1:
        return None
    return builder.call(node.name, Reshape(tuple(-1 if size is None else size for size in after)), source_of(node))


def _shuffle(node: fx.Node) -> tuple[fx.Node, ChannelShuffle] | None:
    """Recognise a channel shuffle at its last reshape: channels in groups, the two axes exchanged, merged again."""
    permuted = _skip_copies(source_of(node))
    if permuted.target not in (_aten.transpose.int, _aten.permute.default):
        return None
    grouped = _skip_copies(source_of(permuted))
    if grouped.target not in _RESHAPES:
        return None
    source = source_of(grouped)
    before, split, swapped, after = (shape_of(n) for n in (source, grouped, permuted, node))
    rank = len(before)
    exchanged = [0, 2, 1, *range(3, rank + 1)]
    if before != after or len(split) != rank + 1 or _axes_of(permuted, rank + 1) != exchanged:
        return None
    if split[0] != before[0] or split[3:] != before[2:] or swapped[1:3] != (split[2], split[1]):
        return None
    if split[1] is None or split[2] is None:
        return None
    order = torch.arange(split[1] * split[2]).reshape(split[1], split[2]).t().flatten()
    return source, ChannelShuffle(order)


def _channel_shuffle(builder: Builder, node: fx.Node) -> fx.Node | None:
    channels, groups = shape_of(node)[1], argument(node, "groups")
    if channels is None:
        return None
    order = torch.arange(channels).reshape(groups, -1).t().flatten()
    return builder.call(node.name, ChannelShuffle(order), source_of(node))


def _skip_copies(node: fx.Node) -> fx.Node:
    while node.target in _COPIES:
        node = source_of(node)
    return node


def _axes_of(node: fx.Node, rank: int) -> list[int]:
    if node.target is _aten.permute.default:
        return [axis % rank for axis in argument(node, "dims")]
    axes = list(range(rank))
    first, second = argument(node, "dim0") % rank, argument(node, "dim1") % rank
    axes[first], axes[second] = second, first
    return axes


def _permute(builder: Builder, node: fx.Node) -> fx.Node:
    return builder.function(torch.permute, source_of(node), tuple(_axes_of(node, len(shape_of(node)))))


def _slice(builder: Builder, node: fx.Node) -> fx.Node | None:
    shape = shape_of(source_of(node))
    axis = argument(node, "dim", 0) % len(shape)
    start, step = argument(node, "start", 0), argument(node, "step", 1)
    end = argument(node, "end", 2**63 - 1)
    size = shape[axis]
    if size is None or not all(isinstance(value, int) for value in (start, end)):
        is_whole = start == 0 and step == 1 and isinstance(end, int) and end >= 2**62
        return _same(builder, node) if is_whole else None
    return _part(builder, node.name, source_of(node), axis, *slice(start, end).indices(size)[:2], step)


def _part(builder: Builder, name: str, source: fx.Node, axis: int, start: int, stop: int, step: int = 1) -> fx.Node:
    if (start, stop, step) == (0, shape_of(source)[axis], 1):
        same: fx.Node = builder.value(source)
        return same
    if axis == 0:
        return builder.function(_aten.slice.Tensor, source, 0, start, stop, step)
    return builder.call(name, Slice(axis, start, stop, step), source)


def _parts(builder: Builder, node: fx.Node) -> fx.Node | None:
    """Turn a chunk or split into one slice for each part that is read."""
    shape = shape_of(source_of(node))
    axis = argument(node, "dim", 0) % len(shape)
    values = node.meta["val"]
    sizes = [value.shape[axis] for value in values]
    if shape[axis] is None or axis == 0:
        return None
    for user in list(node.users):
        position = user.args[1]
        assert isinstance(position, int)  # the argument of `getitem`
        start = sum(sizes[:position])
        part = _part(builder, user.name, source_of(node), axis, start, start + sizes[position])
        builder.values[user] = part
    return builder.value(source_of(node))  # type: ignore[no-any-return]  # read by nobody


def _unbind(builder: Builder, node: fx.Node) -> fx.Node:
    axis = argument(node, "dim", 0)
    for user in list(node.users):
        builder.values[user] = builder.function(torch.select, source_of(node), axis, user.args[1])
    return builder.value(source_of(node))  # type: ignore[no-any-return]  # read by nobody


def _select(builder: Builder, node: fx.Node) -> fx.Node | None:
    index = argument(node, "index")
    if not isinstance(index, int):
        return None
    return builder.function(torch.select, source_of(node), argument(node, "dim"), index)


def _pad(builder: Builder, node: fx.Node) -> fx.Node | None:
    counts = list(argument(node, "pad"))
    is_constant = argument(node, "mode", "constant") == "constant" and (argument(node, "value", 0) or 0) == 0
    is_channel_pad = len(shape_of(source_of(node))) == 4 and len(counts) == 6 and not any(counts[:4])
    if not is_channel_pad or not is_constant or min(counts) < 0:
        return None
    return builder.call(node.name, ChannelPad(counts[4], counts[5]), source_of(node))


def _cat(builder: Builder, node: fx.Node) -> fx.Node:
    axis = argument(node, "dim", 0) % len(shape_of(node))
    return builder.function(torch.cat, argument(node, "tensors"), axis)


def _expand(builder: Builder, node: fx.Node) -> fx.Node | None:
    before, after = shape_of(source_of(node)), shape_of(node)
    if before == after or _is_implied(node):
        return _same(builder, node)
    if len(before) != len(after) or any(a != b for a, b in zip(before[1:], after[1:], strict=True)):
        return None
    # Only the batch grows: `-1` keeps every other size, whatever pruning leaves of it.
    size = builder.value(argument(node, "size"))[0]
    return builder.graph.call_method("expand", (builder.value(source_of(node)), size, *[-1] * (len(after) - 1)))


def _is_implied(node: fx.Node) -> bool:
    """Say whether arithmetic would expand the tensor anyway, to the shape of what it is combined with."""
    shape = shape_of(node)
    if len(shape_of(source_of(node))) != len(shape):
        return False
    for user in node.users:
        others = [a for a in user.all_input_nodes if a is not node]
        if user.target not in _ARITHMETIC or not any(shape_of(other) == shape for other in others):
            return False
    return True


def _unsqueeze(builder: Builder, node: fx.Node) -> fx.Node:
    return builder.function(torch.unsqueeze, source_of(node), argument(node, "dim") % len(shape_of(node)))


def _squeeze(builder: Builder, node: fx.Node) -> fx.Node:
    before = shape_of(source_of(node))
    given = argument(node, "dim")
    axes = [given] if isinstance(given, int) else list(given if given is not None else range(len(before)))
    squeezed = tuple(sorted(axis % len(before) for axis in axes if before[axis] == 1))
    return builder.function(torch.squeeze, source_of(node), squeezed)


def _same(builder: Builder, node: fx.Node) -> fx.Node:
    value: fx.Node = builder.value(source_of(node))
    return value


_RESHAPES = (
    *(_aten.view.default, _aten.reshape.default, _aten._unsafe_view.default),
    *(_aten.flatten.using_ints, _aten.unflatten.int),
)
_ARITHMETIC = (_aten.add.Tensor, _aten.sub.Tensor, _aten.mul.Tensor, _aten.div.Tensor)
_COPIES = (
    *(_aten.clone.default, _aten.alias.default, _aten.detach.default, _aten.contiguous.default),
    *(_aten.lift_fresh_copy.default, _aten.detach_.default),
)
CONVERTERS: dict[Any, Callable[[Builder, fx.Node], fx.Node | None]] = {
    **dict.fromkeys(_RESHAPES, _reshape),
    **dict.fromkeys(_COPIES, _same),
    _aten.channel_shuffle.default: _channel_shuffle,
    _aten.permute.default: _permute,
    _aten.transpose.int: _permute,
    _aten.slice.Tensor: _slice,
    _aten.chunk.default: _parts,
    _aten.split.Tensor: _parts,
    _aten.split_with_sizes.default: _parts,
    _aten.unbind.int: _unbind,
    _aten.select.int: _select,
    _aten.pad.default: _pad,
    _aten.constant_pad_nd.default: _pad,
    _aten.cat.default: _cat,
    _aten.expand.default: _expand,
    _aten.expand_as.default: lambda builder, node: _same(builder, node) if _is_implied(node) else None,
    _aten.unsqueeze.default: _unsqueeze,
    **dict.fromkeys((_aten.squeeze.default, _aten.squeeze.dim, _aten.squeeze.dims), _squeeze),
}
