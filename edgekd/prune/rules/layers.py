"""Layers with weights, normalization, and layers that treat every channel alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import fx, nn

from edgekd.models.layers import ChannelPad
from edgekd.prune.tracer import Ids, Rule, Tracer, source


def _convolution(tracer: Tracer, node: fx.Node) -> Ids | None:
    module = tracer.module(node)
    inputs = tracer.along(source(node), 1)
    if inputs is None:
        return None
    groups, path = module.groups, str(node.target)
    if groups > 1 and groups == module.in_channels:
        outputs = np.repeat(inputs, module.out_channels // groups)
    else:
        outputs = tracer.outputs[path] if path in tracer.outputs else tracer.fresh(module.out_channels)
        for ids in (inputs, outputs):
            # A group that reads its own channels: the same positions stay in every one of them.
            tracer.tie_along(ids.reshape(groups, -1), 0)
    return _on_axis(tracer.layer(node, inputs, outputs), 1, len(tracer.shape(node)))


def _linear(tracer: Tracer, node: fx.Node) -> Ids | None:
    inputs = tracer.along(source(node), -1)
    if inputs is None:
        return None
    path = str(node.target)
    outputs = tracer.outputs[path] if path in tracer.outputs else tracer.fresh(tracer.module(node).out_features)
    return _on_axis(tracer.layer(node, inputs, outputs), -1, len(tracer.shape(node)))


def _embedding(tracer: Tracer, node: fx.Node) -> Ids | None:
    path = str(node.target)
    outputs = tracer.outputs[path] if path in tracer.outputs else tracer.fresh(tracer.module(node).embedding_dim)
    tracer.inputs.setdefault(path, np.zeros(0, dtype=np.int64))
    tracer.outputs[path] = outputs
    return _on_axis(outputs, -1, len(tracer.shape(node)))


def _per_channel(tracer: Tracer, node: fx.Node) -> Ids | None:
    ids = tracer.along(source(node), 1)
    if ids is None:
        return None
    return _on_axis(tracer.layer(node, ids, ids), 1, len(tracer.shape(node)))


def _prelu(tracer: Tracer, node: fx.Node) -> Ids | None:
    return _unchanged(tracer, node) if tracer.module(node).num_parameters == 1 else _per_channel(tracer, node)


def _group_norm(tracer: Tracer, node: fx.Node) -> Ids | None:
    ids = tracer.along(source(node), 1)
    if ids is None:
        return None
    # Mean and variance are those of a whole group of channels: it stays whole or goes whole.
    tracer.tie_along(ids.reshape(tracer.module(node).num_groups, -1), 1)
    return _on_axis(tracer.layer(node, ids, ids), 1, len(tracer.shape(node)))


def _layer_norm(tracer: Tracer, node: fx.Node) -> Ids | None:
    ids = tracer.of(source(node))
    normalized = len(tracer.module(node).normalized_shape)
    if any(size > 1 for size in ids.shape[ids.ndim - normalized :]):
        tracer.fix(ids, f"normalized together by LayerNorm '{node.target}'")
    return ids


def _channel_pad(tracer: Tracer, node: fx.Node) -> Ids | None:
    module, path = tracer.module(node), str(node.target)
    assert isinstance(module, ChannelPad)  # chosen by the table of rules
    inputs = tracer.along(source(node), 1)
    if inputs is None:
        return None
    if path not in tracer.outputs:
        outputs = np.concatenate([tracer.fresh(module.front), inputs, tracer.fresh(module.back)])
    else:
        outputs = tracer.outputs[path]
    return _on_axis(tracer.layer(node, inputs, outputs), 1, 4)


def _unchanged(tracer: Tracer, node: fx.Node) -> Ids | None:
    return tracer.of(source(node))


def _spatial(tracer: Tracer, node: fx.Node) -> Ids | None:
    """Pooling and resizing treat every channel of `[batch, channels, ...]` alike."""
    ids = tracer.along(source(node), 1)
    return None if ids is None else _on_axis(ids, 1, len(tracer.shape(node)))


def _on_axis(ids: Ids, axis: int, rank: int) -> Ids:
    shape = [1] * rank
    shape[axis] = len(ids)
    return ids.reshape(shape)


TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, *TRANSPOSED)
POINTWISE: tuple[type[nn.Module], ...] = (
    *(nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.Sigmoid, nn.LeakyReLU),
    *(nn.GELU, nn.Tanh, nn.ELU, nn.Mish, nn.Softplus, nn.Dropout),
)
POOLS: tuple[type[nn.Module], ...] = (
    *(nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d),
)
RULES: dict[Any, Rule] = {
    **dict.fromkeys(CONVOLUTIONS, _convolution),
    nn.Linear: _linear,
    nn.Embedding: _embedding,
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.InstanceNorm1d, nn.InstanceNorm2d), _per_channel),
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
    nn.PReLU: _prelu,
    ChannelPad: _channel_pad,
    **dict.fromkeys(POINTWISE, _unchanged),
    **dict.fromkeys(POOLS, _spatial),
}
