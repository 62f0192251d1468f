"""ONNX operators that move, cut, join and resize, and those that compute with shapes."""

# ruff: noqa: ARG001  (every function of the table takes the node)

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from edgekd.models.onnx.values import OnnxNode, UnsupportedError, Value, host, is_host, to_number, to_sizes, to_tensor

Function = Callable[..., Any]
_FAR = 2**31 - 1
_MOST_ELEMENTS = 2**28  # of a constant that a node fills; far above what a network needs, far below what hurts
# TensorProto.DataType
_FLOATS = (1, 10, 11, 16)
_INTEGERS = (2, 3, 4, 5, 6, 7, 12, 13)
_BOOL = 9


def _rank(value: Value) -> int:
    return int(value.ndim)


def _axes(node: OnnxNode, axes: Value) -> list[int] | None:
    """Return axes from the input or, in older operator sets, the attribute."""
    return node.get("axes") if axes is None else to_sizes(axes)


def _shape(node: OnnxNode, x: Value) -> Value:
    return host(tuple(x.shape)[node.get("start", 0) : node.get("end", None)])


def _size(node: OnnxNode, x: Value) -> Value:
    return np.asarray(np.prod(host(tuple(x.shape))))


def _reshape(node: OnnxNode, x: Value, shape: Value = None) -> Value:
    target = list(node.get("shape")) if shape is None else to_sizes(shape)
    if not node.get("allowzero", 0):
        target = [x.shape[i] if isinstance(t, int) and t == 0 else t for i, t in enumerate(target)]
    if is_host(x):
        return x.reshape(target)
    fixed = node.batch is not None and target and isinstance(target[0], int)
    if fixed and target[0] > 0 and target[0] % node.batch == 0 and x.shape[0] != target[0]:
        # The file was made for one batch size. Where that comes first it may be another.
        target[0] = x.shape[0] if -1 in target else -1
    return torch.reshape(x, target)


def _flatten(node: OnnxNode, x: Value) -> Value:
    axis = node.get("axis", 1)
    axis = axis + x.dim() if axis < 0 else axis
    if axis == 1:
        return torch.flatten(x, 1)
    return x.reshape(1, -1) if axis == 0 else x.flatten(axis).flatten(0, axis - 1)


def _squeeze(node: OnnxNode, x: Value, axes: Value = None) -> Value:
    chosen = _axes(node, axes)
    chosen = [i for i, size in enumerate(x.shape) if size == 1] if chosen is None else [a % _rank(x) for a in chosen]
    return np.squeeze(x, tuple(chosen)) if is_host(x) else torch.squeeze(x, chosen)


def _unsqueeze(node: OnnxNode, x: Value, axes: Value = None) -> Value:
    chosen = _axes(node, axes) or []
    rank = _rank(x) + len(chosen)
    for axis in sorted(a % rank for a in chosen):
        x = np.expand_dims(x, axis) if is_host(x) else torch.unsqueeze(x, axis)
    return x


def _transpose(node: OnnxNode, x: Value) -> Value:
    order = node.get("perm") or list(reversed(range(_rank(x))))
    return np.transpose(x, order) if is_host(x) else x.permute(order)


def _concat(node: OnnxNode, *parts: Value) -> Value:
    axis = node.get("axis")
    if all(is_host(part) for part in parts):
        return np.concatenate(parts, axis)
    like = next(part for part in parts if not is_host(part))
    tensors = [to_tensor(part, like) for part in parts]
    if node.batch == 1 and axis % like.dim() != 0:
        # A class token made for a batch of one is the same for every image.
        batch = next((t.shape[0] for t in tensors if not isinstance(t.shape[0], int) or t.shape[0] != 1), 1)
        whole = [t.shape[0] if isinstance(t.shape[0], int) else 0 for t in tensors]
        tensors = [
            t.expand(batch, *t.shape[1:]) if n == 1 and batch != 1 else t for t, n in zip(tensors, whole, strict=True)
        ]
    return torch.cat(tensors, axis)


def _split(node: OnnxNode, x: Value, sizes: Value = None) -> Value:
    axis, parts = node.get("axis", 0), node.get("num_outputs", len(node.outputs))
    given = node.get("split") if sizes is None else to_sizes(sizes)
    if given is None:
        step = -(-x.shape[axis] // parts)
        given = [step] * (parts - 1) + [x.shape[axis] - step * (parts - 1)]
    if is_host(x):
        return tuple(np.split(x, np.cumsum(given)[:-1], axis))
    return tuple(torch.split(x, given, axis))


def _slice(node: OnnxNode, x: Value, starts: Value = None, ends: Value = None, *rest: Value) -> Value:
    first, last = (node.get(n) if v is None else to_sizes(v) for n, v in (("starts", starts), ("ends", ends)))
    axes = to_sizes(rest[0]) if rest and rest[0] is not None else node.get("axes") or list(range(len(first)))
    steps = to_sizes(rest[1]) if len(rest) > 1 and rest[1] is not None else [1] * len(first)
    for start, end, axis, step in zip(first, last, axes, steps, strict=True):
        axis = axis % _rank(x)
        if step < 0 and not is_host(x):
            if (start, step) != (-1, -1) or end > -_FAR:
                raise UnsupportedError("a negative step other than a reversal")
            x = torch.flip(x, [axis])
            continue
        stop = None if isinstance(end, int) and abs(end) >= _FAR else end
        x = x[(slice(None),) * axis + (slice(start, stop, step),)]
    return x


def _pad(node: OnnxNode, x: Value, pads: Value = None, value: Value = None, axes: Value = None) -> Value:
    counts = node.get("pads") or node.get("paddings") if pads is None else to_sizes(pads)
    chosen = list(range(x.dim())) if axes is None else [a % x.dim() for a in to_sizes(axes)]
    both = [(0, 0)] * x.dim()
    for index, axis in enumerate(chosen):
        both[axis] = (counts[index], counts[index + len(chosen)])
    mode = node.get("mode", "constant")
    modes = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}
    first = next((i for i, pair in enumerate(both) if pair != (0, 0)), x.dim() - 1)
    if mode != "constant":
        first = max(first, 2) if both[:2] == [(0, 0)] * 2 else first
        first = min(first, 2) if x.dim() == 4 else first
    flat = [count for pair in reversed(both[first:]) for count in pair]
    if mode != "constant":
        return F.pad(x, flat, mode=modes[mode])
    fill = node.get("value", 0.0) if value is None else to_number(value)
    return F.pad(x, flat, value=float(fill))


def _expand(node: OnnxNode, x: Value, shape: Value) -> Value:
    target, tensor = to_sizes(shape), to_tensor(x)
    own = [1] * (len(target) - tensor.dim()) + list(tensor.shape)
    target = [1] * (len(own) - len(target)) + target
    sizes = [o if isinstance(t, int) and t == 1 else t for o, t in zip(own, target, strict=True)]
    _require_small(sizes)
    return np.broadcast_to(x, sizes) if is_host(x) and all(isinstance(s, int) for s in sizes) else tensor.expand(sizes)


def _tile(node: OnnxNode, x: Value, repeats: Value) -> Value:
    counts = to_sizes(repeats)
    return np.tile(x, counts) if is_host(x) else x.repeat(counts)


def _gather(node: OnnxNode, x: Value, indices: Value) -> Value:
    axis = node.get("axis", 0) % _rank(x)
    if is_host(x) and is_host(indices):
        return np.asarray(np.take(x, indices.astype(np.int64), axis))
    x = to_tensor(x)
    if is_host(indices) and indices.ndim == 0:
        return x.select(axis, int(indices))
    chosen = to_tensor(indices)
    if axis == 0 and x.dim() == 2:
        return F.embedding(torch.where(chosen < 0, chosen + x.shape[0], chosen) if is_host(indices) else chosen, x)
    flat = torch.index_select(x, axis, chosen.reshape(-1) % x.shape[axis])
    return flat.reshape(*x.shape[:axis], *chosen.shape, *x.shape[axis + 1 :])


def _cast(node: OnnxNode, x: Value) -> Value:
    to = node.get("to")
    if is_host(x):
        if to in _FLOATS:
            return x * 1.0
        return x.astype(bool) if to == _BOOL else x if x.dtype == object else x.astype(np.int64)
    # Every floating-point type is float32 here, whatever the file stores.
    kinds = dict.fromkeys(_FLOATS, torch.float32) | dict.fromkeys(_INTEGERS, torch.int64) | {_BOOL: torch.bool}
    if to not in kinds:
        raise UnsupportedError(f"a conversion to the type {to}")
    return x.to(kinds[to])


def _constant_of_shape(node: OnnxNode, shape: Value) -> Value:
    sizes = to_sizes(shape)
    _require_small(sizes)
    value = node.get("value")
    fill = 0.0 if value is None else np.asarray(value).reshape(-1)[0]
    if value is not None and np.asarray(value).dtype.kind in "iub" and all(isinstance(s, int) for s in sizes):
        return np.full(sizes, fill, dtype=np.asarray(value).dtype)
    return torch.full(sizes, fill.item() if hasattr(fill, "item") else fill)


def _require_small(sizes: list[Any]) -> None:
    count = 1
    for size in sizes:
        count *= size if isinstance(size, int) else 1
    if count > _MOST_ELEMENTS:
        raise UnsupportedError(f"a constant of {count:,} elements")


def _range(node: OnnxNode, start: Value, limit: Value, delta: Value) -> Value:
    numbers = [to_number(value) for value in (start, limit, delta)]
    _require_small([abs(numbers[1] - numbers[0])])
    return np.arange(*numbers)


def _resize(node: OnnxNode, x: Value, *rest: Value) -> Value:
    # Upsample, and Resize of operator set 10, have the scales where later ones have the region of interest.
    scales = rest[0] if len(rest) == 1 else rest[1] if len(rest) > 1 else None
    sizes = rest[2] if len(rest) > 2 else None
    if sizes is not None:
        target = to_sizes(sizes)
        if node.get("axes") is None:
            target = target[2:]
    else:
        factors = node.get("scales") if scales is None else [float(v) for v in scales.reshape(-1).tolist()]
        target = [int(size * factor) for size, factor in zip(x.shape[2:], factors[-(x.dim() - 2) :], strict=True)]
    mode = node.get("mode", "nearest")
    place = node.get("coordinate_transformation_mode", "half_pixel" if len(rest) > 1 else "asymmetric")
    if node.get("antialias", 0) or node.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise UnsupportedError("antialiasing or a kept aspect ratio")
    if mode == "nearest":
        whole = all(after % before == 0 for before, after in zip(x.shape[2:], target, strict=True))
        floors = place == "asymmetric" and node.get("nearest_mode", "round_prefer_floor") == "floor"
        return F.interpolate(x, size=target, mode="nearest" if whole or floors else "nearest-exact")
    names = {("linear", 1): "linear", ("linear", 2): "bilinear", ("linear", 3): "trilinear", ("cubic", 2): "bicubic"}
    name = names.get((mode, x.dim() - 2))
    if name is None or place not in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        raise UnsupportedError(f"mode '{mode}' with '{place}'")
    return F.interpolate(x, size=target, mode=name, align_corners=place == "align_corners")


def _depth_to_space(node: OnnxNode, x: Value) -> Value:
    block = node.get("blocksize")
    if node.get("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, block)
    batch, channels, height, width = x.shape
    x = x.reshape(batch, block, block, channels // block**2, height, width).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(batch, channels // block**2, height * block, width * block)


def _space_to_depth(node: OnnxNode, x: Value) -> Value:
    block = node.get("blocksize")
    batch, channels, height, width = x.shape
    x = x.reshape(batch, channels, height // block, block, width // block, block).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(batch, channels * block**2, height // block, width // block)


def _same(node: OnnxNode, x: Value, *rest: Value) -> Value:
    return x


SHAPING: dict[str, Function] = {
    "Shape": _shape,
    "Size": _size,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Pad": _pad,
    "Expand": _expand,
    "Tile": _tile,
    "Gather": _gather,
    "Cast": _cast,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "Resize": _resize,
    "Upsample": _resize,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "Identity": _same,
    "Dropout": _same,
}
