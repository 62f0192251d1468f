"""For `traced`: a prepared network as the QuantizeLinear / DequantizeLinear pairs that integer runtimes fuse.

Weights and biases become int8 and int32 constants; every fake quantizer becomes a pair. Operators that only move
values get a pair with the range of their input, without which the runtime would leave integers there.
"""

from __future__ import annotations

import torch
from torch import fx, nn

from edgekd.export.onnx.graph import OPSET
from edgekd.export.onnx.quantized import integer_constants
from edgekd.quantize.fold import copy_graph, module_of
from edgekd.quantize.modules import ActivationQuantizer, QuantizedLayer, apply_layer
from edgekd.quantize.prepare import moves_values, quantizer_before


class _Pair(nn.Module):
    """Quantize to uint8 and back, as two ONNX operators."""

    scale: torch.Tensor
    zero_point: torch.Tensor

    def __init__(self, quantizer: ActivationQuantizer) -> None:
        super().__init__()
        self.register_buffer("scale", quantizer.scale.detach().clone())
        self.register_buffer("zero_point", quantizer.zero_point.to(torch.uint8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        quantized = torch.onnx.ops.symbolic(
            "QuantizeLinear",
            (x, self.scale, self.zero_point),
            dtype=torch.uint8,
            shape=x.shape,
            version=OPSET,
        )
        return torch.onnx.ops.symbolic(
            "DequantizeLinear",
            (quantized, self.scale, self.zero_point),
            dtype=torch.float32,
            shape=x.shape,
            version=OPSET,
        )


class _IntegerLayer(nn.Module):
    """A layer whose weight and bias are integer constants behind DequantizeLinear."""

    weight: torch.Tensor
    weight_scale: torch.Tensor
    weight_zero: torch.Tensor
    bias: torch.Tensor
    bias_scale: torch.Tensor

    def __init__(self, quantized: QuantizedLayer, input_scale: torch.Tensor) -> None:
        super().__init__()
        constants = integer_constants(quantized, input_scale)
        self.layer, self.axis = quantized.layer, constants.axis
        self.register_buffer("weight", constants.weight)
        self.register_buffer("weight_scale", constants.weight_scale)
        self.register_buffer("weight_zero", torch.zeros_like(constants.weight_scale, dtype=torch.int8))
        self.has_bias = constants.bias is not None
        if self.has_bias:
            self.register_buffer("bias", constants.bias)
            self.register_buffer("bias_scale", constants.bias_scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = _dequantize(self.weight, self.weight_scale, self.weight_zero, axis=self.axis)
        bias = _dequantize(self.bias, self.bias_scale) if self.has_bias else None
        return apply_layer(self.layer, x, weight, bias)


def _dequantize(*constants: torch.Tensor, axis: int = 0) -> torch.Tensor:
    values = constants[0]
    return torch.onnx.ops.symbolic(
        "DequantizeLinear",
        constants,
        attrs={"axis": axis},
        dtype=torch.float32,
        shape=values.shape,
        version=OPSET,
    )


def to_qdq(prepared: fx.GraphModule) -> fx.GraphModule:
    """Return a prepared network in a form that `torch.onnx.export` writes as QDQ; the given one stays."""
    network = copy_graph(prepared)
    before = {node: quantizer_before(network, node) for node in network.graph.nodes}
    _replace_layers(network)
    for node in list(network.graph.nodes):
        quantizer = before.get(node)
        if quantizer is not None and moves_values(network, node):
            _insert_pair(network, node, str(quantizer.target))
    for name, module in list(network.named_children()):
        if isinstance(module, ActivationQuantizer):
            setattr(network, name, _Pair(module))
    network.graph.eliminate_dead_code()
    network.graph.lint()
    network.recompile()
    return network.eval()


def _replace_layers(network: fx.GraphModule) -> None:
    """Put an integer layer at each call of a quantized one.

    A layer that is called twice becomes two, because the step of its bias is that of what it reads.
    """
    calls: dict[str, int] = {}
    replaced = []
    for node in network.graph.nodes:
        module = module_of(network, node)
        if not isinstance(module, QuantizedLayer):
            continue
        quantizer = network.get_submodule(str(node.args[1].target).rpartition(".")[0])
        assert isinstance(quantizer, ActivationQuantizer)  # `prepare` passes a quantizer's scale
        path = str(node.target)
        calls[path] = calls.get(path, 0) + 1
        replaced.append((node, f"{path}_integer_{calls[path]}", _IntegerLayer(module, quantizer.scale)))
    for node, path, layer in replaced:
        network.add_submodule(path, layer)
        node.target = path
        node.args = node.args[:1]


def _insert_pair(network: fx.GraphModule, node: fx.Node, quantizer: str) -> None:
    source = network.get_submodule(quantizer)
    assert isinstance(source, ActivationQuantizer)  # found by `quantizer_before`
    name = f"pair_{node.name}"
    network.add_submodule(name, _Pair(source))
    with network.graph.inserting_after(node):
        pair = network.graph.call_module(name, (node,))
    node.replace_all_uses_with(pair, delete_user_cb=lambda user: user is not pair)
