"""Layers as ONNX operators.

Every function takes the graph, the layer, the name of its input and the shape of that (`None` where it is dynamic;
counts of channels may be those from before pruning), and returns the name of the output.
"""

# ruff: noqa: ARG001  (every function of the table takes the same arguments)

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from edgekd.export.onnx.graph import OnnxGraph, require
from edgekd.models.layers import ChannelPad, ChannelShuffle, Reshape, Slice

Shape = tuple[int | None, ...]
Emitter = Callable[[OnnxGraph, Any, str, Shape], str]


def is_product(module: nn.Module, shape: Shape) -> bool:
    """Say whether a layer is a linear one of several axes (tokens), which needs its weight transposed."""
    return isinstance(module, nn.Linear) and len(shape) != 2


def layer(graph: OnnxGraph, module: Any, x: str, shape: Shape, weight: str, bias: str) -> str:
    """Apply a convolution or linear layer with these constants instead of its own; an empty `bias` is none.

    The weight is that of the layer, transposed where `is_product` says so.
    """
    if is_product(module, shape):
        product = graph.add("MatMul", x, weight)
        return graph.add("Add", product, bias) if bias else product
    inputs = (x, weight, bias) if bias else (x, weight)
    if isinstance(module, nn.Linear):
        return graph.add("Gemm", *inputs, transB=1)
    options: dict[str, Any] = {
        "kernel_shape": list(module.kernel_size),
        "strides": list(module.stride),
        "dilations": list(module.dilation),
        "group": module.groups,
        "pads": _pads(module),
    }
    if isinstance(module, (nn.ConvTranspose1d, nn.ConvTranspose2d)):
        return graph.add("ConvTranspose", *inputs, output_padding=list(module.output_padding), **options)
    return graph.add("Conv", *inputs, **options)


def _pads(module: Any) -> list[int]:
    """Return the padding before each axis, then the padding after each."""
    if isinstance(module.padding, str):
        # Pairs from the last axis to the first.
        pairs = module._reversed_padding_repeated_twice
        return [*pairs[0::2][::-1], *pairs[1::2][::-1]]
    return [*module.padding, *module.padding]


def _weighted(graph: OnnxGraph, module: Any, x: str, shape: Shape) -> str:
    require(getattr(module, "padding_mode", "zeros") == "zeros")
    bias = graph.parameter(module.bias) if module.bias is not None else ""
    weight = graph.parameter(module.weight, module.weight.t() if is_product(module, shape) else None)
    return layer(graph, module, x, shape, weight, bias)


def _batch_norm(graph: OnnxGraph, module: Any, x: str, shape: Shape) -> str:
    require(module.running_mean is not None)
    statistics = (graph.parameter(module.running_mean), graph.parameter(module.running_var))
    return graph.add("BatchNormalization", x, *_scale_and_shift(graph, module), *statistics, epsilon=module.eps)


def _scale_and_shift(graph: OnnxGraph, module: Any) -> tuple[str, str]:
    """Return the names of a norm's weight and bias, which are one and zero where it has none."""
    ones = torch.ones(module.num_features)
    weight = graph.constant(ones) if module.weight is None else graph.parameter(module.weight)
    bias = graph.constant(0 * ones) if module.bias is None else graph.parameter(module.bias)
    return weight, bias


def _layer_norm(graph: OnnxGraph, module: Any, x: str, shape: Shape) -> str:
    require(module.weight is not None)
    constants = [graph.parameter(value) for value in (module.weight, module.bias) if value is not None]
    return graph.add("LayerNormalization", x, *constants, axis=-len(module.normalized_shape), epsilon=module.eps)


def _group_norm(graph: OnnxGraph, module: Any, x: str, shape: Shape) -> str:
    ones = torch.ones(module.num_groups)
    grouped = graph.add("Reshape", x, graph.integers(0, module.num_groups, -1))
    unit = graph.add(
        "InstanceNormalization", grouped, graph.constant(ones), graph.constant(0 * ones), epsilon=module.eps
    )
    normal = graph.add("Reshape", unit, graph.add("Shape", x))
    if module.weight is None:
        return normal
    per_channel = (-1, *[1] * (len(shape) - 2))
    scaled = graph.add("Mul", normal, graph.parameter(module.weight, module.weight.reshape(per_channel)))
    return graph.add("Add", scaled, graph.parameter(module.bias, module.bias.reshape(per_channel)))


def _instance_norm(graph: OnnxGraph, module: Any, x: str, shape: Shape) -> str:
    return graph.add("InstanceNormalization", x, *_scale_and_shift(graph, module), epsilon=module.eps)


def _prelu(graph: OnnxGraph, module: Any, x: str, shape: Shape) -> str:
    # A slope for each channel lines up with the second axis.
    slopes = module.weight.reshape(-1, *[1] * (len(shape) - 2))
    return graph.add("PRelu", x, graph.parameter(module.weight, slopes))


def _embedding(graph: OnnxGraph, module: Any, x: str, shape: Shape) -> str:
    return graph.add("Gather", graph.parameter(module.weight), x)


def _gelu(graph: OnnxGraph, module: Any, x: str, shape: Shape) -> str:
    if module.approximate == "tanh":
        cube = graph.add("Mul", graph.add("Mul", graph.add("Mul", x, x), x), graph.number(0.044715))
        inner = graph.add("Mul", graph.add("Add", x, cube), graph.number(math.sqrt(2 / math.pi)))
        gate = graph.add("Tanh", inner)
    else:
        gate = graph.add("Erf", graph.add("Div", x, graph.number(math.sqrt(2))))
    return graph.add("Mul", graph.add("Mul", x, graph.add("Add", gate, graph.number(1.0))), graph.number(0.5))


def _clip(graph: OnnxGraph, x: str, low: float, high: float) -> str:
    return graph.add("Clip", x, graph.number(low), graph.number(high))


def _softplus(graph: OnnxGraph, module: Any, x: str, shape: Shape) -> str:
    require(module.beta == 1)
    return graph.add("Softplus", x)


def _unary(operator: str, **attributes: Any) -> Emitter:
    return lambda graph, _module, x, _shape: graph.add(operator, x, **attributes)


def _window(module: Any, dimensions: int) -> dict[str, Any]:
    padding = _per_dimension(module.padding, dimensions)
    stride = module.kernel_size if module.stride is None else module.stride
    return {
        "kernel_shape": _per_dimension(module.kernel_size, dimensions),
        "strides": _per_dimension(stride, dimensions),
        "pads": [*padding, *padding],
    }


def _per_dimension(value: Any, dimensions: int) -> list[int]:
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return values * dimensions if len(values) == 1 else values


def _max_pool(graph: OnnxGraph, module: Any, x: str, shape: Shape) -> str:
    dimensions = 1 if isinstance(module, nn.MaxPool1d) else 2
    require(len(shape) == dimensions + 2)
    window = _window(module, dimensions)
    dilations = _per_dimension(module.dilation, dimensions)
    if module.ceil_mode:
        sizes = zip(shape[2:], *window.values(), dilations, strict=False)
        require(all(_is_last_window_kept(*size) for size in sizes))
    return graph.add("MaxPool", x, dilations=dilations, ceil_mode=int(module.ceil_mode), **window)


def _is_last_window_kept(size: int | None, kernel: int, stride: int, pad: int, dilation: int) -> bool:
    """Say whether the last window of a rounded-up count begins before the padding: torch drops it there, ONNX not."""
    if size is None:
        return False
    windows = math.ceil((size + 2 * pad - dilation * (kernel - 1) - 1) / stride) + 1
    return (windows - 1) * stride < size + pad


def _average_pool(graph: OnnxGraph, module: Any, x: str, shape: Shape) -> str:
    dimensions = 1 if isinstance(module, nn.AvgPool1d) else 2
    require(not module.ceil_mode and len(shape) == dimensions + 2)
    require(getattr(module, "divisor_override", None) is None)
    counts_padding = int(module.count_include_pad)
    return graph.add("AveragePool", x, count_include_pad=counts_padding, **_window(module, dimensions))


def _adaptive_pool(graph: OnnxGraph, module: Any, x: str, shape: Shape) -> str:
    dimensions = 1 if isinstance(module, nn.AdaptiveAvgPool1d) else 2
    require(len(shape) == dimensions + 2)
    sizes = shape[2:]
    wanted = [size or given for size, given in zip(_per_dimension(module.output_size, dimensions), sizes, strict=True)]
    if all(size == 1 for size in wanted):
        return graph.add("GlobalAveragePool", x)
    # Windows of one size, only where the sizes divide.
    window = []
    for given, size in zip(sizes, wanted, strict=True):
        require(given is not None and size is not None and given % size == 0)
        assert given is not None  # just looked
        assert size is not None
        window.append(given // size)
    return graph.add("AveragePool", x, kernel_shape=window, strides=window)


def _channel_pad(graph: OnnxGraph, module: ChannelPad, x: str, shape: Shape) -> str:
    counts = [0] * (2 * len(shape))
    counts[1], counts[len(shape) + 1] = module.front, module.back
    return graph.add("Pad", x, graph.integers(*counts))


def _slice(graph: OnnxGraph, module: Slice, x: str, shape: Shape) -> str:
    bounds = (graph.integers(value) for value in (module.start, module.stop, module.axis, module.step))
    return graph.add("Slice", x, *bounds)


def _reshape(graph: OnnxGraph, module: Reshape, x: str, shape: Shape) -> str:
    return graph.add("Reshape", x, graph.integers(*module.sizes))


def _channel_shuffle(graph: OnnxGraph, module: ChannelShuffle, x: str, shape: Shape) -> str:
    return graph.add("Gather", x, graph.parameter(module.order), axis=1)


def _same(graph: OnnxGraph, module: Any, x: str, shape: Shape) -> str:
    return x


WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear)
LAYERS: dict[type[nn.Module], Emitter] = {
    **dict.fromkeys(WEIGHTED, _weighted),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d), _batch_norm),
    **dict.fromkeys((nn.InstanceNorm1d, nn.InstanceNorm2d), _instance_norm),
    nn.LayerNorm: _layer_norm,
    nn.GroupNorm: _group_norm,
    nn.PReLU: _prelu,
    nn.Embedding: _embedding,
    nn.ReLU: _unary("Relu"),
    nn.ReLU6: lambda graph, _module, x, _shape: _clip(graph, x, 0.0, 6.0),
    nn.Hardtanh: lambda graph, module, x, _shape: _clip(graph, x, module.min_val, module.max_val),
    nn.Hardswish: _unary("HardSwish"),
    nn.Hardsigmoid: _unary("HardSigmoid", alpha=1 / 6, beta=0.5),
    nn.SiLU: lambda graph, _module, x, _shape: graph.add("Mul", x, graph.add("Sigmoid", x)),
    nn.Sigmoid: _unary("Sigmoid"),
    nn.Tanh: _unary("Tanh"),
    nn.Mish: _unary("Mish"),
    nn.GELU: _gelu,
    nn.Softplus: _softplus,
    nn.ELU: lambda graph, module, x, _shape: graph.add("Elu", x, alpha=float(module.alpha)),
    nn.LeakyReLU: lambda graph, module, x, _shape: graph.add("LeakyRelu", x, alpha=float(module.negative_slope)),
    **dict.fromkeys((nn.MaxPool1d, nn.MaxPool2d), _max_pool),
    **dict.fromkeys((nn.AvgPool1d, nn.AvgPool2d), _average_pool),
    **dict.fromkeys((nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d), _adaptive_pool),
    ChannelPad: _channel_pad,
    Slice: _slice,
    Reshape: _reshape,
    ChannelShuffle: _channel_shuffle,
    **dict.fromkeys((nn.Identity, nn.Dropout), _same),
}
