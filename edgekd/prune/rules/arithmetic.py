"""Sums, products, reductions, matrix products and attention: what they compute with stays together."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx

from edgekd.prune.tracer import Ids, Rule, Tracer, source

_aten = torch.ops.aten


def _elementwise(tracer: Tracer, node: fx.Node) -> Ids | None:
    rank = len(tracer.shape(node))
    tensors = [a for a in node.args if isinstance(a, fx.Node) and len(tracer.shape(a))]
    # A stored tensor takes the identities of what it is combined with, so it comes last.
    if not tensors:
        return None
    tensors.sort(key=lambda tensor: tensor.op == "get_attr")
    result, shape = _aligned(tracer, tensors[0], rank)
    for tensor in tensors[1:]:
        if tensor.op == "get_attr" and str(tensor.target) not in tracer.outputs:
            _like(tracer, tensor, result, shape)
        other, other_shape = _aligned(tracer, tensor, rank)
        result = _combined(tracer, node, (result, shape), (other, other_shape))
        shape = tuple(b if a == 1 else a for a, b in zip(shape, other_shape, strict=True))
    return result


def _aligned(tracer: Tracer, node: fx.Node, rank: int) -> tuple[Ids, tuple[int | None, ...]]:
    """Identities and shape with ones in front, as broadcasting reads them."""
    ids, shape = tracer.of(node), tracer.shape(node)
    ones = (1,) * (rank - ids.ndim)
    return ids.reshape(ones + ids.shape), ones + shape


def _like(tracer: Tracer, stored: fx.Node, ids: Ids, shape: tuple[int | None, ...]) -> None:
    """Give a stored tensor the axes that change in `ids`, of those it has in full."""
    own = tracer.shape(stored)
    if not own:
        return
    pairs = zip(own, ids.shape[-len(own) :], shape[-len(own) :], strict=True)
    tracer.stored(stored, tuple(size or 1 if tracked > 1 and size == whole else 1 for size, tracked, whole in pairs))


def _combined(
    tracer: Tracer, node: fx.Node, first: tuple[Ids, tuple[int | None, ...]], second: tuple[Ids, tuple[int | None, ...]]
) -> Ids:
    (a, a_shape), (b, b_shape) = first, second
    for axis, (a_size, b_size) in enumerate(zip(a_shape, b_shape, strict=True)):
        if a_size == b_size != 1 and a.shape[axis] != b.shape[axis]:
            reason = f"combined by '{node.name}' with values that are not followed"
            tracer.fix(a, reason)
            tracer.fix(b, reason)
    for narrow, wide, narrow_shape in ((a, b, a_shape), (b, a, b_shape)):
        tracked = [axis for axis, size in enumerate(wide.shape) if size > 1]
        if narrow.size == 1 and tracked and all(narrow_shape[axis] == 1 for axis in tracked):
            return wide
    tracer.tie(a, b)
    shape = np.broadcast_shapes(a.shape, b.shape)
    return np.broadcast_to(a if a.size >= b.size else b, shape)


def _mean(tracer: Tracer, node: fx.Node) -> Ids | None:
    ids, axes = tracer.of(source(node)), _axes(node)
    if any(ids.shape[axis] > 1 for axis in axes):
        tracer.fix(ids, f"averaged over channels by '{node.name}'")
    return _reduced(ids, node, axes)


def _sum(tracer: Tracer, node: fx.Node) -> Ids | None:
    """A dropped channel adds nothing to a sum over channels, so they stay free; the sum is nobody's channel."""
    ids, axes = tracer.of(source(node)), _axes(node)
    reduced = _reduced(ids, node, axes)
    if all(ids.shape[axis] == 1 for axis in axes):
        return reduced
    if reduced.size > 1:
        tracer.fix(ids, f"summed by '{node.name}'")
        return reduced
    return tracer.fresh(*reduced.shape)


def _axes(node: fx.Node) -> tuple[int, ...]:
    axes: Any = node.kwargs["dim"]
    return tuple(axes)


def _reduced(ids: Ids, node: fx.Node, axes: tuple[int, ...]) -> Ids:
    for axis in axes:
        ids = ids.take([0], axis)
    return ids if node.kwargs.get("keepdim") else ids.squeeze(tuple(axes))


def _softmax(tracer: Tracer, node: fx.Node) -> Ids | None:
    ids, axis = tracer.of(source(node)), node.kwargs["dim"]
    assert isinstance(axis, int)  # what `models.rewrite` emits
    if ids.shape[axis] > 1:
        tracer.fix(ids, f"normalized together by '{node.name}'")
    return ids


def _matmul(tracer: Tracer, node: fx.Node) -> Ids | None:
    first, second = node.args
    if not isinstance(first, fx.Node) or not isinstance(second, fx.Node):
        return None
    rank = len(tracer.shape(node))
    if len(tracer.shape(first)) < 2 or len(tracer.shape(second)) < 2:
        return None
    return _product(tracer, node, _aligned(tracer, first, rank)[0], _aligned(tracer, second, rank)[0])


def _product(tracer: Tracer, node: fx.Node, a: Ids, b: Ids) -> Ids | None:
    """`[..., rows, inner]` times `[..., inner, columns]`: inner axes are tied, and so are the batches before them."""
    rows, columns = a.shape[-2] > 1, b.shape[-1] > 1
    inner = (a.shape[-1], b.shape[-2])
    if (rows and columns) or (rows and inner[0] > 1) or (columns and inner[1] > 1):
        return None
    if inner[0] != inner[1]:
        reason = f"multiplied by '{node.name}' with values that are not followed"
        tracer.fix(a, reason)
        tracer.fix(b, reason)
    elif inner[0] > 1:
        tracer.tie(a[..., 0, :], b[..., :, 0])
    batches = []
    for ids in (a, b):
        if ids[..., 0, 0].size > 1:
            # A batch of the product (a head) is there as long as any of it is: it goes as a whole.
            tracer.tie(ids, ids[..., :1, :1])
        batches.append(ids[..., :1, :1])
    if batches[0].size > 1 or batches[1].size > 1:
        tracer.tie(*batches)
    if columns:
        return np.broadcast_to(b, (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), 1, b.shape[-1]))
    if rows:
        return np.broadcast_to(a, (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], 1))
    wide = max(batches, key=lambda ids: ids.size)
    return wide if wide.size > 1 else tracer.fresh(*wide.shape)


def _attention(tracer: Tracer, node: fx.Node) -> Ids | None:
    query, key, value = (tracer.of(argument) for argument in node.args[:3] if isinstance(argument, fx.Node))
    scores = _product(tracer, node, query, key.swapaxes(-1, -2))
    if scores is None or scores.shape[-1] > 1 or scores.shape[-2] > 1:
        return None
    mask = node.kwargs.get("attn_mask")
    if isinstance(mask, fx.Node) and tracer.of(mask).size > 1:
        tracer.fix(tracer.of(mask), f"a mask of '{node.name}'")
        return None
    return _product(tracer, node, scores, value)


def _unchanged(tracer: Tracer, node: fx.Node) -> Ids | None:
    return tracer.of(source(node))


_UNARY = (
    *(_aten.neg.default, _aten.abs.default, _aten.exp.default, _aten.log.default, _aten.sqrt.default),
    *(_aten.rsqrt.default, _aten.erf.default, _aten.square.default, _aten.reciprocal.default),
    *(_aten.pow.Tensor_Scalar, _aten.clamp.default, _aten.clamp_min.default, _aten.clamp_max.default),
    *(_aten.to.dtype, _aten.to.dtype_layout, _aten._to_copy.default, _aten.sin.default, _aten.cos.default),
)
_RESIZING = (
    *(_aten.upsample_nearest2d.vec, _aten.upsample_bilinear2d.vec, _aten.upsample_bicubic2d.vec),
    *(_aten.upsample_nearest2d.default, _aten.upsample_bilinear2d.default, _aten.upsample_nearest1d.vec),
    *(_aten.upsample_linear1d.vec, _aten.pad.default, _aten.constant_pad_nd.default),
)


def _resized(tracer: Tracer, node: fx.Node) -> Ids | None:
    """Resizing and padding of maps; padding of channels is a `ChannelPad` or not followed."""
    ids, shapes = tracer.along(source(node), 1), (tracer.shape(source(node)), tracer.shape(node))
    return tracer.of(source(node)) if ids is not None and shapes[0][1] == shapes[1][1] else None


RULES: dict[Any, Rule] = {
    **dict.fromkeys((operator.add, operator.sub, operator.mul, operator.truediv), _elementwise),
    **dict.fromkeys((_aten.add.Tensor, _aten.sub.Tensor, _aten.maximum.default, _aten.minimum.default), _elementwise),
    **dict.fromkeys((_aten.add.Scalar, _aten.mul.Scalar, _aten.sub.Scalar, _aten.div.Scalar), _elementwise),
    **dict.fromkeys((_aten.pow.Tensor_Tensor, _aten.rsub.Scalar), _elementwise),
    **dict.fromkeys(_UNARY, _unchanged),
    **dict.fromkeys(_RESIZING, _resized),
    torch.mean: _mean,
    torch.sum: _sum,
    torch.amax: _mean,
    torch.linalg.vector_norm: _sum,
    **dict.fromkeys((torch.softmax, torch.log_softmax), _softmax),
    torch.matmul: _matmul,
    F.scaled_dot_product_attention: _attention,
}
