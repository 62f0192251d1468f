"""Activations, arithmetic, pooling, reductions and attention."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from edgekd.models.rewrite.builder import Builder, argument, shape_of, source_of

_aten = torch.ops.aten
_Converter = Callable[[Builder, fx.Node], fx.Node | None]


def _activation(factory: Callable[..., nn.Module]) -> _Converter:
    def convert(builder: Builder, node: fx.Node) -> fx.Node:
        return builder.call(node.name, factory(*node.args[1:], **node.kwargs), source_of(node))

    return convert


def _hardtanh(builder: Builder, node: fx.Node) -> fx.Node | None:
    low, high = argument(node, "min_val", -1.0), argument(node, "max_val", 1.0)
    module = nn.ReLU6() if (low, high) == (0.0, 6.0) else nn.Hardtanh(low, high)
    return builder.call(node.name, module, source_of(node))


def _clamp(builder: Builder, node: fx.Node) -> fx.Node | None:
    low, high = argument(node, "min"), argument(node, "max")
    if not all(isinstance(value, (int, float)) for value in (low, high)):
        return builder.call(node.name, nn.ReLU(), source_of(node)) if (low, high) == (0, None) else None
    module = nn.ReLU6() if (low, high) == (0.0, 6.0) else nn.Hardtanh(low, high)
    return builder.call(node.name, module, source_of(node))


def _pool(factory: Callable[..., nn.Module]) -> _Converter:
    def convert(builder: Builder, node: fx.Node) -> fx.Node:
        names = [known.name for known in node.target._schema.arguments[1:]]  # type: ignore[union-attr]  # an operator
        # By name, because the modules have their arguments in another order than the operators.
        options = dict(zip(names, node.args[1:], strict=False)) | dict(node.kwargs)
        options = {n: tuple(a) if isinstance(a, (list, tuple)) else a for n, a in options.items()}
        if options.get("stride") == ():
            del options["stride"]
        return builder.call(node.name, factory(**options), source_of(node))

    return convert


def _mean(builder: Builder, node: fx.Node) -> fx.Node | None:
    shape = shape_of(source_of(node))
    axes = sorted(axis % len(shape) for axis in argument(node, "dim") or range(len(shape)))
    is_kept = argument(node, "keepdim", False)
    if len(shape) == 4 and axes == [2, 3]:
        pooled = builder.call(node.name, nn.AdaptiveAvgPool2d(1), source_of(node))
        if is_kept:
            return pooled
        pooled.meta["shape"] = (*shape[:2], 1, 1)
        return builder.function_of_new(torch.flatten, pooled, 1)
    return builder.function(torch.mean, source_of(node), dim=tuple(axes), keepdim=is_kept)


def _reduction(function: Callable[..., Any]) -> _Converter:
    def convert(builder: Builder, node: fx.Node) -> fx.Node | None:
        rank = len(shape_of(source_of(node)))
        axes = tuple(sorted(axis % rank for axis in argument(node, "dim") or range(rank)))
        is_kept = argument(node, "keepdim", False)
        norm = {"ord": argument(node, "ord", 2)} if function is torch.linalg.vector_norm else {}
        return builder.function(function, source_of(node), dim=axes, keepdim=is_kept, **norm)

    return convert


def _binary(function: Callable[..., Any]) -> _Converter:
    def convert(builder: Builder, node: fx.Node) -> fx.Node | None:
        return None if node.kwargs else builder.function(function, *node.args)

    return convert


def _softmax(function: Callable[..., Any]) -> _Converter:
    def convert(builder: Builder, node: fx.Node) -> fx.Node | None:
        rank = len(shape_of(node))
        return builder.function(function, source_of(node), dim=argument(node, "dim") % rank)

    return convert


def _attention(builder: Builder, node: fx.Node) -> fx.Node | None:
    """Write the scale out: by default it depends on a head's width, which pruning must not change."""
    query = source_of(node)
    width = shape_of(query)[-1]
    if width is None or argument(node, "dropout_p", 0.0) or argument(node, "enable_gqa", False):
        return None
    return builder.function(
        F.scaled_dot_product_attention,
        *node.args[:3],
        attn_mask=argument(node, "attn_mask"),
        is_causal=argument(node, "is_causal", False),
        scale=argument(node, "scale", 1.0 / math.sqrt(width)),
    )


def _dropout(builder: Builder, node: fx.Node) -> fx.Node:
    return builder.call(node.name, nn.Dropout(argument(node, "p")), source_of(node))


CONVERTERS: dict[Any, _Converter] = {
    _aten.relu.default: _activation(nn.ReLU),
    _aten.relu6.default: _activation(nn.ReLU6),
    _aten.hardtanh.default: _hardtanh,
    **dict.fromkeys((_aten.clamp.default, _aten.clamp_min.default), _clamp),
    _aten.hardswish.default: _activation(nn.Hardswish),
    _aten.hardsigmoid.default: _activation(nn.Hardsigmoid),
    _aten.silu.default: _activation(nn.SiLU),
    _aten.sigmoid.default: _activation(nn.Sigmoid),
    _aten.leaky_relu.default: _activation(nn.LeakyReLU),
    _aten.gelu.default: _activation(nn.GELU),
    _aten.tanh.default: _activation(nn.Tanh),
    _aten.elu.default: _activation(nn.ELU),
    _aten.mish.default: _activation(nn.Mish),
    _aten.softplus.default: _activation(nn.Softplus),
    _aten.max_pool1d.default: _pool(nn.MaxPool1d),
    _aten.max_pool2d.default: _pool(nn.MaxPool2d),
    _aten.avg_pool1d.default: _pool(nn.AvgPool1d),
    _aten.avg_pool2d.default: _pool(nn.AvgPool2d),
    _aten.adaptive_avg_pool1d.default: _pool(nn.AdaptiveAvgPool1d),
    _aten.adaptive_avg_pool2d.default: _pool(nn.AdaptiveAvgPool2d),
    _aten.mean.dim: _mean,
    _aten.sum.dim_IntList: _reduction(torch.sum),
    _aten.amax.default: _reduction(torch.amax),
    _aten.linalg_vector_norm.default: _reduction(torch.linalg.vector_norm),
    _aten.add.Tensor: _binary(operator.add),
    _aten.sub.Tensor: _binary(operator.sub),
    _aten.mul.Tensor: _binary(operator.mul),
    _aten.div.Tensor: _binary(operator.truediv),
    _aten.matmul.default: _binary(torch.matmul),
    _aten.bmm.default: _binary(torch.matmul),
    _aten.softmax.int: _softmax(torch.softmax),
    _aten._softmax.default: _softmax(torch.softmax),
    _aten.log_softmax.int: _softmax(torch.log_softmax),
    _aten._log_softmax.default: _softmax(torch.log_softmax),
    _aten.scaled_dot_product_attention.default: _attention,
    _aten.dropout.default: _dropout,
}
