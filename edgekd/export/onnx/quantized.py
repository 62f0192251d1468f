"""Integer constants of a prepared network, and the QuantizeLinear / DequantizeLinear pairs that runtimes fuse."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from edgekd.export.onnx.graph import OnnxGraph
from edgekd.export.onnx.layers import Shape, is_product, layer
from edgekd.quantize.modules import QMAX_WEIGHT, ActivationQuantizer, QuantizedLayer


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerConstants:
    """The stored tensors of a quantized layer; without a bias `bias` and `bias_scale` are `None`.

    Attributes:
        weight: int8, in the shape of the layer's own.
        weight_scale: One step for each index of `axis`.
        axis: Of the weight, along which steps differ.
        bias: int32, `[outputs]`.
        bias_scale: The step of each bias: input scale times weight scale.
    """

    weight: torch.Tensor
    weight_scale: torch.Tensor
    axis: int
    bias: torch.Tensor | None
    bias_scale: torch.Tensor | None


def integer_constants(quantized: QuantizedLayer, input_scale: torch.Tensor) -> IntegerConstants:
    """Return a layer's weight and bias as the integers the runtime computes with."""
    scale = quantized.weight_scale()
    shape = [1] * quantized.layer.weight.dim()
    shape[quantized.axis] = -1
    weight = (quantized.layer.weight.detach() / scale.view(shape)).round().clamp(-QMAX_WEIGHT, QMAX_WEIGHT)
    bias, step = None, None
    if quantized.layer.bias is not None:
        step = quantized.bias_step(scale, input_scale)
        limit = 2.0**31 - 1
        bias = (quantized.layer.bias.detach().double() / step).round().clamp(-limit, limit).to(torch.int32)
    return IntegerConstants(
        weight=weight.to(torch.int8), weight_scale=scale, axis=quantized.axis, bias=bias, bias_scale=step
    )


def emit_pair(graph: OnnxGraph, quantizer: ActivationQuantizer, x: str) -> str:
    """Quantize a value to uint8 and back."""
    range_ = (graph.constant(quantizer.scale), graph.constant(quantizer.zero_point.to(torch.uint8)))
    return graph.add("DequantizeLinear", graph.add("QuantizeLinear", x, *range_), *range_)


def emit_integer_layer(
    graph: OnnxGraph, module: QuantizedLayer, x: str, shape: Shape, input_scale: torch.Tensor
) -> str:
    """Apply a layer whose weight and bias are integer constants behind DequantizeLinear."""
    constants = integer_constants(module, input_scale)
    weight, axis = constants.weight, constants.axis
    if is_product(module.layer, shape):
        weight, axis = weight.t(), 1
    zero = torch.zeros_like(constants.weight_scale, dtype=torch.int8)
    stored = (graph.constant(value) for value in (weight, constants.weight_scale, zero))
    dequantized = graph.add("DequantizeLinear", *stored, axis=axis)
    bias = ""
    if constants.bias is not None and constants.bias_scale is not None:
        bias = graph.add(
            "DequantizeLinear", graph.constant(constants.bias), graph.constant(constants.bias_scale), axis=0
        )
    return layer(graph, module.layer, x, shape, dequantized, bias)
