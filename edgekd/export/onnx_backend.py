"""Write ONNX: fp32, fp16 and int8 (QDQ), slim and with the same bytes for the same network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn

from edgekd.errors import ExportError
from edgekd.export.qdq import OPSET, to_qdq
from edgekd.models.quiet import quiet_torch
from edgekd.quantize.fold import fold_batch_norm
from edgekd.records import Precision, TensorSpec
from edgekd.store import written_whole

IR_VERSION = 10


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


def export_onnx(
    network: fx.GraphModule,
    path: Path,
    *,
    precision: Precision,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[str, ...] = ("logits",),
    metadata: Mapping[str, str],
) -> None:
    """Write `network` as ONNX; the first axis of every input and output is the batch.

    Args:
        network: A float network, or for int8 a prepared one (`edgekd.quantize.prepare`).
        path: Where to; written whole or not at all.
        precision: Which arithmetic the file asks for.
        inputs: Names, shapes without the batch, and types, in the network's order.
        outputs: Their names.
        metadata: What the file should say about itself.

    Raises:
        ExportError: An operator has no ONNX form, or the disk is full.
    """
    model = onnx_model(network, precision=precision, inputs=inputs, outputs=outputs)
    for key in sorted(metadata):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, metadata[key]
    with written_whole(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def onnx_model(
    network: fx.GraphModule,
    *,
    precision: Precision,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[str, ...] = ("logits",),
) -> Any:
    """Return the `onnx.ModelProto` of a network, without metadata.

    Raises:
        ExportError: An operator has no ONNX form.
    """
    folded = to_qdq(network) if precision == "int8" else fold_batch_norm(network)
    module: nn.Module = _HalfInside(folded) if precision == "fp16" else folded
    examples = tuple(torch.zeros(2, *spec.shape, dtype=getattr(torch, spec.dtype)) for spec in inputs)
    # By position; all of them have the same batch. What takes `*inputs` has one argument, of all of them.
    shapes = tuple({0: "batch"} for _ in inputs)
    try:
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
    except torch.onnx.errors.OnnxExporterError as error:
        raise ExportError(
            f"ONNX {precision}",
            expected="operators that ONNX has",
            found=str(error).strip().splitlines()[0],
            hint="Name the operator in an issue; `edgekd inspect` shows where the network uses it.",
        ) from error
    if program is None:
        raise ExportError(
            f"ONNX {precision}",
            expected="an ONNX program",
            found="nothing",
            hint="This torch returned no program: use torch 2.13.",
        )
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
        return names.setdefault(name, _base36(len(names)))

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


def _base36(number: int) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    text = ""
    while number:
        number, rest = divmod(number, 36)
        text = digits[rest] + text
    return "_" + (text or "0")
