"""A network as ONNX, node by node.

What `models.rewrite` produces has few kinds of nodes, and each has one form here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from edgekd.export.onnx.functions import Call, emit_function
from edgekd.export.onnx.graph import OnnxGraph, UncoveredError
from edgekd.export.onnx.layers import LAYERS
from edgekd.export.onnx.quantized import emit_integer_layer, emit_pair
from edgekd.quantize.fold import module_of
from edgekd.quantize.modules import ActivationQuantizer, QuantizedLayer
from edgekd.quantize.prepare import moves_values, quantizer_before
from edgekd.records import TensorSpec


def emit(
    network: fx.GraphModule,
    *,
    in_half: bool,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[str, ...],
    is_labelled: bool = False,
) -> Any:
    """Return the `onnx.ModelProto` of a network in evaluation mode, or of a prepared one as QDQ.

    Args:
        network: With `meta["shape"]` at its nodes.
        in_half: Compute in fp16 between float32 inputs and outputs, which every caller can use.
        inputs: In the network's order.
        outputs: Their names.
        is_labelled: Whether the nodes are named after those of the network.

    Raises:
        UncoveredError: A node has no form here.
    """
    walk = _Walk(network, OnnxGraph(in_half=in_half), inputs)
    for node in network.graph.nodes:
        if node.op != "output":
            walk.graph.label = node.name if is_labelled else ""
            walk.visit(node)
    results = next(node for node in network.graph.nodes if node.op == "output").args[0]
    types = walk.finish(results if isinstance(results, (tuple, list)) else (results,), outputs)
    return walk.graph.model(inputs, tuple(zip(outputs, types, strict=True)))


class _Walk:
    def __init__(self, network: fx.GraphModule, graph: OnnxGraph, inputs: tuple[TensorSpec, ...]) -> None:
        self.network = network
        self.graph = graph
        self.names: dict[fx.Node, str] = {}
        self._inputs = iter(inputs)

    def visit(self, node: fx.Node) -> None:
        """Append what a node computes."""
        if node.op == "get_attr" and all(_is_layer(self.network, user) for user in node.users):
            return  # the scale of an input, which the layer asks its quantizer for
        name = self._emit(node)
        quantizer = quantizer_before(self.network, node) if moves_values(self.network, node) else None
        if quantizer is not None:
            # Without a pair behind it the runtime would leave integers there.
            name = emit_pair(self.graph, self._quantizer(quantizer), name)
        self.names[node] = name

    def finish(self, results: Any, outputs: tuple[str, ...]) -> list[torch.dtype]:
        """Give the results their names and return their types."""
        types = []
        for node, name in zip(results, outputs, strict=True):
            if not isinstance(node, fx.Node) or "dtype" not in node.meta:
                raise UncoveredError
            dtype = node.meta["dtype"]
            if self.graph.in_half and dtype.is_floating_point:
                self.graph.cast(self.names[node], torch.float32, output=name)
            else:
                self.graph.rename(self.names[node], name)
            types.append(dtype)
        return types

    def _emit(self, node: fx.Node) -> str:
        if node.op == "placeholder":
            spec = next(self._inputs)
            is_halved = self.graph.in_half and node.meta["dtype"].is_floating_point
            return self.graph.cast(spec.name, torch.float16) if is_halved else spec.name
        if node.op == "get_attr":
            return self.graph.constant(_attribute(self.network, str(node.target)))
        if node.op == "call_module":
            return self._module(node)
        return emit_function(Call(self.graph, node, self.names))

    def _module(self, node: fx.Node) -> str:
        module, source = module_of(self.network, node), node.args[0]
        if not isinstance(source, fx.Node):
            raise UncoveredError
        x, shape = self.names[source], source.meta["shape"]
        if isinstance(module, ActivationQuantizer):
            return emit_pair(self.graph, module, x)
        if isinstance(module, QuantizedLayer):
            scale = node.args[1]
            assert isinstance(scale, fx.Node)  # `prepare` passes a quantizer's scale
            return emit_integer_layer(self.graph, module, x, shape, _attribute(self.network, str(scale.target)))
        emitter = LAYERS.get(type(module))  # type: ignore[arg-type]  # None is no key
        if emitter is None or len(node.args) != 1:
            raise UncoveredError
        return emitter(self.graph, module, x, shape)

    def _quantizer(self, node: fx.Node) -> ActivationQuantizer:
        module = module_of(self.network, node)
        assert isinstance(module, ActivationQuantizer)  # what `quantizer_before` finds
        return module


def _is_layer(network: fx.GraphModule, node: fx.Node) -> bool:
    return isinstance(module_of(network, node), QuantizedLayer)


def _attribute(network: fx.GraphModule, path: str) -> torch.Tensor:
    parent, _, name = path.rpartition(".")
    value: torch.Tensor = getattr(network.get_submodule(parent), name)
    return value
