"""A network as ONNX by way of `torch.onnx`, for operators that `direct` has no form for.

It takes seconds where the direct way takes milliseconds.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn

from edgekd.export.onnx.graph import IR_VERSION, OPSET, short_name
from edgekd.export.onnx.qdq import to_qdq
from edgekd.models.quiet import quiet_torch
from edgekd.quantize.modules import ActivationQuantizer
from edgekd.records import TensorSpec


class _HalfInside(nn.Module):
    """Computes in fp16 between float32 inputs and outputs, which every caller can use."""

    def __init__(self, network: fx.GraphModule) -> None:
        super().__init__()
        self.network = _cast_to_half(network).half()

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        result = self.network(*(x.half() if x.is_floating_point() else x for x in inputs))
        if isinstance(result, tuple):
            return tuple(x.float() if x.is_floating_point() else x for x in result)
        return result.float()  # type: ignore[no-any-return]  # a tensor


def _cast_to_half(network: fx.GraphModule) -> fx.GraphModule:
    """Let casts of masks and indices to float32, which the graph spells out, give what the other values are."""
    for node in network.graph.nodes:
        if node.op == "call_function":
            node.args = tuple(torch.float16 if value is torch.float32 else value for value in node.args)
            node.kwargs = {k: torch.float16 if v is torch.float32 else v for k, v in node.kwargs.items()}
    network.recompile()
    return network


def trace(network: fx.GraphModule, *, in_half: bool, inputs: tuple[TensorSpec, ...], outputs: tuple[str, ...]) -> Any:
    """Return the `onnx.ModelProto` of a network, or of a prepared one as QDQ; arguments as those of `direct.emit`.

    Raises:
        torch.onnx.errors.OnnxExporterError: An operator has no ONNX form.
    """
    if any(isinstance(module, ActivationQuantizer) for module in network.modules()):
        network = to_qdq(network)
    module: nn.Module = _HalfInside(network) if in_half else network
    examples = tuple(torch.zeros(2, *spec.shape, dtype=getattr(torch, spec.dtype)) for spec in inputs)
    # By position; all of them have the same batch. What takes `*inputs` has one argument, of all of them.
    shapes = tuple({0: "batch"} for _ in inputs)
    with quiet_torch(), torch.no_grad():
        program = torch.onnx.export(
            module.eval(),
            examples,
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=(shapes,) if isinstance(module, _HalfInside) else shapes,
            input_names=[spec.name for spec in inputs],
            output_names=list(outputs),
            verbose=False,
        )
    assert program is not None  # `dynamo=True` returns one
    return slim(program.model_proto)


def slim(model: Any) -> Any:
    """Strip what a deployed file does not need and give values short names; the computation stays.

    The exporter leaves stack traces, shapes of every value and long names, up to 300 KB, which for a small network
    decides whether it meets its budget.
    """
    graph = model.graph
    del graph.value_info[:], graph.metadata_props[:], model.metadata_props[:]
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version, model.doc_string = "edgekd", "", ""
    graph.name, graph.doc_string = "network", ""
    kept = {value.name for value in (*graph.input, *graph.output)} | {""}
    names: dict[str, str] = {name: name for name in kept}

    def short(name: str) -> str:
        return names.setdefault(name, short_name(len(names)))

    for tensor in graph.initializer:
        tensor.name = short(tensor.name)
        tensor.doc_string = ""
        del tensor.metadata_props[:]
    for node in graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
        node.name = ""
        node.input[:] = [short(name) for name in node.input]
        node.output[:] = [short(name) for name in node.output]
    for value in (*graph.input, *graph.output):
        value.doc_string = ""
        del value.metadata_props[:]
    return model
