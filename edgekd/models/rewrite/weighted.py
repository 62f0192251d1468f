"""Operators with weights, as the modules they were."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx, nn

from edgekd.models.rewrite.builder import Builder, argument, copy_into, shape_of, source_of

_aten = torch.ops.aten
_CONVOLUTIONS: dict[tuple[int, bool], Any] = {
    (1, False): nn.Conv1d,
    (2, False): nn.Conv2d,
    (1, True): nn.ConvTranspose1d,
    (2, True): nn.ConvTranspose2d,
}


def _convolution(builder: Builder, node: fx.Node) -> fx.Node | None:
    weight, bias = builder.tensor(argument(node, "weight")), builder.tensor(argument(node, "bias"))
    if weight is None:
        return None
    name = node.target.__name__  # type: ignore[union-attr]  # an operator
    is_transposed = bool(argument(node, "transposed", default="transpose" in name))
    dimensions = weight.dim() - 2
    groups = argument(node, "groups", 1)
    padding = argument(node, "padding", 0)
    kind = _CONVOLUTIONS.get((dimensions, is_transposed))
    if kind is None or (is_transposed and isinstance(padding, str)):
        return None
    options: dict[str, Any] = {
        "stride": _per_dimension(argument(node, "stride", 1), dimensions),
        "padding": padding if isinstance(padding, str) else _per_dimension(padding, dimensions),
        "dilation": _per_dimension(argument(node, "dilation", 1), dimensions),
        "groups": groups,
        "bias": bias is not None,
    }
    channels = (weight.shape[1] * groups, weight.shape[0])
    if is_transposed:
        options["output_padding"] = _per_dimension(argument(node, "output_padding", 0), dimensions)
        channels = (weight.shape[0], weight.shape[1] * groups)
    module = kind(*channels, tuple(weight.shape[2:]), **options)
    copy_into(module, "weight", weight)
    copy_into(module, "bias", bias)
    return builder.call(builder.owner(argument(node, "weight")), module, source_of(node), bias=argument(node, "bias"))


def _per_dimension(value: Any, dimensions: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    return values * dimensions if len(values) == 1 else values


def _linear(builder: Builder, node: fx.Node) -> fx.Node | None:
    weight, bias = builder.tensor(argument(node, "weight")), builder.tensor(argument(node, "bias"))
    if weight is None or (argument(node, "bias") is not None and bias is None):
        return None
    module = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    copy_into(module, "weight", weight)
    copy_into(module, "bias", bias)
    return builder.call(builder.owner(argument(node, "weight")), module, source_of(node), bias=argument(node, "bias"))


def _batch_norm(builder: Builder, node: fx.Node) -> fx.Node | None:
    mean, variance = (builder.tensor(argument(node, name)) for name in ("running_mean", "running_var"))
    weight, bias = (builder.tensor(argument(node, name)) for name in ("weight", "bias"))
    if mean is None or variance is None or (weight is None) != (bias is None):
        return None
    kind = nn.BatchNorm2d if len(shape_of(source_of(node))) == 4 else nn.BatchNorm1d
    module = kind(mean.numel(), eps=argument(node, "eps"), momentum=argument(node, "momentum"), affine=bias is not None)
    for name, value in (("weight", weight), ("bias", bias), ("running_mean", mean), ("running_var", variance)):
        copy_into(module, name, value)
    return builder.call(builder.owner(argument(node, "running_mean")), module, source_of(node))


def _batch_norm_functional(builder: Builder, node: fx.Node) -> fx.Node | None:
    # Its three outputs are read through `getitem`; only the first one, the normalized tensor, is ever used.
    if any(user.args[1] != 0 and user.users for user in node.users):
        return None
    new = _batch_norm(builder, node)
    if new is not None:
        builder.values.update(dict.fromkeys(node.users, new))
        new.meta["shape"] = shape_of(source_of(node))
        new.meta["dtype"] = node.meta["val"][0].dtype
    return new


def _getitem(builder: Builder, node: fx.Node) -> fx.Node | None:
    known: fx.Node | None = builder.values.get(node)  # filled in by the operator with several outputs
    return known


def _layer_norm(builder: Builder, node: fx.Node) -> fx.Node | None:
    weight, bias = (builder.tensor(argument(node, name)) for name in ("weight", "bias"))
    if weight is None:
        return None
    module = nn.LayerNorm(tuple(weight.shape), eps=argument(node, "eps"), bias=bias is not None)
    copy_into(module, "weight", weight)
    copy_into(module, "bias", bias)
    return builder.call(builder.owner(argument(node, "weight")), module, source_of(node))


def _group_norm(builder: Builder, node: fx.Node) -> fx.Node | None:
    weight, bias = (builder.tensor(argument(node, name)) for name in ("weight", "bias"))
    channels = shape_of(source_of(node))[1]
    if channels is None or (weight is None) != (bias is None):
        return None
    module = nn.GroupNorm(argument(node, "num_groups"), channels, eps=argument(node, "eps"), affine=weight is not None)
    copy_into(module, "weight", weight)
    copy_into(module, "bias", bias)
    path = builder.owner(argument(node, "weight")) if weight is not None else node.name
    return builder.call(path, module, source_of(node))


def _instance_norm(builder: Builder, node: fx.Node) -> fx.Node | None:
    weight, bias = (builder.tensor(argument(node, name)) for name in ("weight", "bias"))
    shape = shape_of(source_of(node))
    if not argument(node, "use_input_stats") or len(shape) not in (3, 4) or shape[1] is None:
        return None
    kind = nn.InstanceNorm2d if len(shape) == 4 else nn.InstanceNorm1d
    module = kind(shape[1], eps=argument(node, "eps"), affine=weight is not None)
    if weight is not None:
        copy_into(module, "weight", weight)
        copy_into(module, "bias", bias)
    path = builder.owner(argument(node, "weight")) if weight is not None else node.name
    return builder.call(path, module, source_of(node))


def _prelu(builder: Builder, node: fx.Node) -> fx.Node | None:
    weight = builder.tensor(argument(node, "weight"))
    if weight is None:
        return None
    module = nn.PReLU(weight.numel())
    copy_into(module, "weight", weight.flatten())
    return builder.call(builder.owner(argument(node, "weight")), module, source_of(node))


def _embedding(builder: Builder, node: fx.Node) -> fx.Node | None:
    weight = builder.tensor(argument(node, "weight"))
    if weight is None:
        return None
    module = nn.Embedding(*weight.shape)
    copy_into(module, "weight", weight)
    return builder.call(builder.owner(argument(node, "weight")), module, argument(node, "indices"))


CONVERTERS = {
    _aten.conv1d.default: _convolution,
    _aten.conv1d.padding: _convolution,
    _aten.conv2d.default: _convolution,
    _aten.conv2d.padding: _convolution,
    _aten.conv_transpose1d.default: _convolution,
    _aten.conv_transpose2d.input: _convolution,
    _aten.convolution.default: _convolution,
    _aten.linear.default: _linear,
    _aten.batch_norm.default: _batch_norm,
    _aten._native_batch_norm_legit_no_training.default: _batch_norm_functional,
    operator.getitem: _getitem,
    _aten.layer_norm.default: _layer_norm,
    _aten.group_norm.default: _group_norm,
    _aten.instance_norm.default: _instance_norm,
    _aten.prelu.default: _prelu,
    _aten.embedding.default: _embedding,
}
