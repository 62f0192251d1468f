"""ONNX pooling, and padding that depends on the size of what comes in."""

# ruff: noqa: ARG001  (every function of the table takes the node)

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from edgekd.models.onnx.values import OnnxNode, UnsupportedError, Value

_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE: dict[int, Any] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_ADAPTIVE: dict[int, Any] = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}


def explicit_pads(node: OnnxNode, sizes: tuple[int, ...], kernel: list[int]) -> list[int]:
    """Return the padding of a window, all fronts and then all backs, with `auto_pad` worked out for an input's size."""
    count = len(kernel)
    automatic = node.get("auto_pad", "NOTSET")
    if automatic in ("NOTSET", ""):
        return list(node.get("pads") or [0] * 2 * count)
    if automatic == "VALID":
        return [0] * 2 * count
    strides, dilations = (node.get(name) or [1] * count for name in ("strides", "dilations"))
    fronts, backs = [], []
    for size, extent, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + dilation * (extent - 1) + 1 - size)
        small, large = total // 2, total - total // 2
        fronts.append(small if automatic == "SAME_UPPER" else large)
        backs.append(large if automatic == "SAME_UPPER" else small)
    return fronts + backs


def pad_window(node: OnnxNode, x: Value, kernel: list[int], fill: float = 0.0) -> Value:
    """Return `x` padded as the node says."""
    pads = explicit_pads(node, tuple(x.shape[2:]), kernel)
    count = len(kernel)
    flat = [pads[axis + side * count] for axis in reversed(range(count)) for side in (0, 1)]
    return F.pad(x, flat, value=fill) if any(flat) else x


def _window(node: OnnxNode, x: Value) -> tuple[list[int], list[int], list[int], list[int]]:
    kernel = node.get("kernel_shape")
    strides, dilations = (node.get(name) or [1] * len(kernel) for name in ("strides", "dilations"))
    return kernel, strides, dilations, explicit_pads(node, tuple(x.shape[2:]), kernel)


def _is_symmetric(pads: list[int], kernel: list[int]) -> bool:
    """Say whether torch's pooling takes the padding: the same on both sides, at most half a window."""
    count = len(kernel)
    return pads[:count] == pads[count:] and all(2 * pad <= size for pad, size in zip(pads, kernel, strict=False))


def _max_pool(node: OnnxNode, x: Value) -> Value:
    kernel, strides, dilations, pads = _window(node, x)
    if len(node.outputs) > 1:
        raise UnsupportedError("the indices of its maxima")
    pool: Callable[..., Any] = _MAX[len(kernel)]
    ceil = bool(node.get("ceil_mode", 0))
    if _is_symmetric(pads, kernel):
        return pool(x, kernel, strides, pads[: len(kernel)], dilations, ceil_mode=ceil)
    return pool(pad_window(node, x, kernel, float("-inf")), kernel, strides, 0, dilations, ceil_mode=ceil)


def _average_pool(node: OnnxNode, x: Value) -> Value:
    kernel, strides, dilations, pads = _window(node, x)
    if any(dilation != 1 for dilation in dilations):
        raise UnsupportedError("dilation")
    include, ceil = bool(node.get("count_include_pad", 0)), bool(node.get("ceil_mode", 0))
    pool = _AVERAGE[len(kernel)]
    if _is_symmetric(pads, kernel):
        return pool(x, kernel, strides, pads[: len(kernel)], ceil_mode=ceil, count_include_pad=include)
    total = pool(pad_window(node, x, kernel), kernel, strides, 0, ceil_mode=ceil)
    if include:
        return total
    # What each window averages over without the padding, as a share of the window.
    return total / pool(pad_window(node, torch.ones_like(x[:1, :1]), kernel), kernel, strides, 0, ceil_mode=ceil)


def _global_average(node: OnnxNode, x: Value) -> Value:
    return _ADAPTIVE[x.dim() - 2](x, 1)


def _global_max(node: OnnxNode, x: Value) -> Value:
    return x.amax(list(range(2, x.dim())), keepdim=True)


POOLING: dict[str, Callable[..., Any]] = {
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _global_max,
}
