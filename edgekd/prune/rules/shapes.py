"""Operators that move values: the array of identities moves as the tensor does."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import fx

from edgekd.models.layers import ChannelShuffle, Reshape, Slice
from edgekd.prune.tracer import Ids, Rule, Tracer, source

_aten = torch.ops.aten
_Shape = tuple[int | None, ...]


def _flatten(tracer: Tracer, node: fx.Node) -> Ids | None:
    return _reshaped(tracer, node)


def _reshape(tracer: Tracer, node: fx.Node) -> Ids | None:
    result = _reshaped(tracer, node)
    if result is not None:
        path = str(node.target)
        tracer.inputs[path], tracer.outputs[path] = tracer.of(source(node)), result
    return result


def _reshaped(tracer: Tracer, node: fx.Node) -> Ids | None:
    """Split and merge axes block by block: `[batch, 3 * heads * width]` to `[batch, 3, heads, width]` is one split."""
    ids, before, after = tracer.of(source(node)), tracer.shape(source(node)), tracer.shape(node)
    blocks = _blocks(before, after)
    if blocks is None:
        return None
    full, moved = list(ids.shape), []
    for old, new in blocks:
        is_tracked = any(ids.shape[axis] > 1 for axis in old)
        if is_tracked and len(old) > 1 and len(new) > 1:
            return None
        for axis in old:
            full[axis] = (before[axis] or 1) if is_tracked else 1
        moved += [(after[axis] or 1) if is_tracked else 1 for axis in new]
    result = np.broadcast_to(ids, full).reshape(moved)
    for old, new in blocks:
        if len(new) > 1 and any(ids.shape[axis] > 1 for axis in old):
            _keep_rectangular(tracer, result, new)
    return result


def _blocks(before: _Shape, after: _Shape) -> list[tuple[range, range]] | None:
    """Return which axes become which, in blocks of equal size; `None` if a dynamic size is split or merged."""
    blocks, i, j = [], 0, 0
    while i < len(before) or j < len(after):
        first_i, first_j = i, j
        old, new = before[i : i + 1] or (1,), after[j : j + 1] or (1,)
        i, j = min(i + 1, len(before)), min(j + 1, len(after))
        if old[0] is None or new[0] is None:
            if old[0] is not new[0]:
                return None
        else:
            left, right = old[0], new[0]
            while left != right:
                if left < right and i < len(before) and (size := before[i]) is not None:
                    left, i = left * size, i + 1
                elif right < left and j < len(after) and (size := after[j]) is not None:
                    right, j = right * size, j + 1
                else:
                    return None
        blocks.append((range(first_i, i), range(first_j, j)))
    return blocks


def _keep_rectangular(tracer: Tracer, ids: Ids, axes: range) -> None:
    """Where channels were split into several axes, let only the last but one get shorter: heads, not their width."""
    wide = [axis for axis in axes if ids.shape[axis] > 1]
    shrinking = wide[-2] if len(wide) > 1 else None
    for axis in wide:
        if axis != shrinking and len(wide) > 1:
            tracer.tie_along(ids, axis)


def _slice(tracer: Tracer, node: fx.Node) -> Ids | None:
    module, ids = tracer.module(node), tracer.of(source(node))
    assert isinstance(module, Slice)  # chosen by the table of rules
    if ids.shape[module.axis] == 1:
        return ids
    if module.step != 1:
        tracer.fix(ids, f"read in steps by '{node.name}'")
    path, part = str(node.target), slice(module.start, module.stop, module.step)
    tracer.inputs[path], tracer.outputs[path] = ids, ids[(slice(None),) * module.axis + (part,)]
    return tracer.outputs[path]


def _shuffle(tracer: Tracer, node: fx.Node) -> Ids | None:
    ids = tracer.along(source(node), 1)
    if ids is None:
        return None
    path = str(node.target)
    tracer.inputs[path], tracer.outputs[path] = ids, ids[tracer.module(node).order.numpy()]
    return tracer.outputs[path].reshape(1, -1, *[1] * (len(tracer.shape(node)) - 2))


def _permute(tracer: Tracer, node: fx.Node) -> Ids | None:
    axes: Any = node.args[1]
    return tracer.of(source(node)).transpose(axes)


def _unsqueeze(tracer: Tracer, node: fx.Node) -> Ids | None:
    axis: Any = node.args[1]
    return np.expand_dims(tracer.of(source(node)), axis)


def _squeeze(tracer: Tracer, node: fx.Node) -> Ids | None:
    axes: Any = node.args[1]
    return tracer.of(source(node)).squeeze(axes)


def _select(tracer: Tracer, node: fx.Node) -> Ids | None:
    ids, axis = tracer.of(source(node)), node.args[1]
    assert isinstance(axis, int)  # what `models.rewrite` emits
    if ids.shape[axis] > 1:
        tracer.tie_along(ids, axis)
    return ids.take([0], axis).squeeze(axis)


def _concatenation(tracer: Tracer, node: fx.Node) -> Ids | None:
    tensors: Any = node.args[0]
    axis: Any = node.args[1]
    parts = [tracer.of(tensor) for tensor in tensors]
    others = [np.prod([size for a, size in enumerate(part.shape) if a != axis], dtype=np.int64) for part in parts]
    if max(others) > 1:
        # Channels run along another axis: the same ones in every part.
        if any(part.shape != parts[int(np.argmax(others))].shape or part.shape[axis] != 1 for part in parts):
            return None
        for part in parts[1:]:
            tracer.tie(parts[0], part)
        return parts[0]
    sizes = [tracer.shape(tensor)[axis] for tensor in tensors]
    if None in sizes or all(part.size == 1 and size != 1 for part, size in zip(parts, sizes, strict=True)):
        return _merged(tracer, parts)
    full = [[size if a == axis else 1 for a in range(part.ndim)] for part, size in zip(parts, sizes, strict=True)]
    return np.concatenate([np.broadcast_to(p, s) for p, s in zip(parts, full, strict=True)], axis=axis)


def _merged(tracer: Tracer, parts: list[Ids]) -> Ids:
    """Parts without channels of their own, as maps or masks: one identity for all."""
    for part in parts[1:]:
        tracer.tie(parts[0], part)
    return parts[0]


def _unchanged(tracer: Tracer, node: fx.Node) -> Ids | None:
    return tracer.of(source(node))


RULES: dict[Any, Rule] = {
    torch.flatten: _flatten,
    Reshape: _reshape,
    Slice: _slice,
    ChannelShuffle: _shuffle,
    torch.permute: _permute,
    torch.unsqueeze: _unsqueeze,
    torch.squeeze: _squeeze,
    torch.select: _select,
    torch.cat: _concatenation,
    "expand": _unchanged,
    _aten.slice.Tensor: _unchanged,
}
