"""Write ONNX: fp32, fp16 and int8 (QDQ), slim and with the same bytes for the same network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import fx

from edgekd.errors import ExportError
from edgekd.export.onnx.direct import emit
from edgekd.export.onnx.graph import UncoveredError
from edgekd.export.onnx.traced import trace
from edgekd.quantize.fold import fold_batch_norm
from edgekd.records import Precision, TensorSpec
from edgekd.store import written_whole


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
    is_labelled: bool = False,
) -> Any:
    """Return the `onnx.ModelProto` of a network, without metadata.

    Args:
        network: A float network, or for int8 a prepared one.
        precision: Which arithmetic the file asks for.
        inputs: Names, shapes without the batch, and types, in the network's order.
        outputs: Their names.
        is_labelled: Whether nodes are named after those of the network, `name/...`; files that ship are not, because
            names take room.

    Raises:
        ExportError: An operator has no ONNX form.
    """
    # A prepared network has no batch norm left to fold.
    network = network if precision == "int8" else fold_batch_norm(network)
    in_half = precision == "fp16"
    try:
        return emit(network, in_half=in_half, inputs=inputs, outputs=outputs, is_labelled=is_labelled)
    except UncoveredError:
        pass
    try:
        return trace(network, in_half=in_half, inputs=inputs, outputs=outputs)
    except torch.onnx.errors.OnnxExporterError as error:
        raise ExportError(
            f"ONNX {precision}",
            expected="operators that ONNX has",
            found=str(error).strip().splitlines()[0],
            hint="Name the operator in an issue; `edgekd inspect` shows where the network uses it.",
        ) from error
