"""Open an ONNX file: whole, float, and with nothing outside its folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.errors import ModelError
from edgekd.models.exported import first_line

_MOST_BYTES = 2**31 - 1  # of a protobuf message
_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul")
_INTEGER_ARITHMETIC = ("ConvInteger", "MatMulInteger")
_EXPORT_HINT = "Export it again: torch.onnx.export(model, args, path, dynamo=True)."


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxFile:
    """A parsed file. `inputs` are (name, sizes with `None` for dynamic ones); `opset` is of the standard operators."""

    model: Any
    inputs: tuple[tuple[str, tuple[int | None, ...]], ...]
    outputs: tuple[str, ...]
    opset: int


def read_onnx(path: Path) -> OnnxFile:
    """Return the model in an ONNX file, with functions inlined and external data read.

    Raises:
        ModelError: It is damaged, too large, quantized, or its external data is missing or outside its folder.
    """
    import onnx
    from google.protobuf.message import DecodeError

    if path.stat().st_size > _MOST_BYTES:
        raise ModelError(
            str(path),
            expected="an ONNX file below 2 GiB",
            found=f"{path.stat().st_size:,} bytes",
            hint="Larger weights belong into external data beside it; such networks are not for edge devices.",
        )
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except (DecodeError, ValueError) as error:
        raise ModelError(
            str(path), expected="a whole ONNX file", found=first_line(error), hint="Copy or export it again."
        ) from error
    _check_external(path, model)
    onnx.load_external_data_for_model(model, str(path.parent))
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    _refuse_quantized(path, model)
    return OnnxFile(
        model=model,
        inputs=_inputs(path, model),
        outputs=tuple(output.name for output in model.graph.output),
        opset=max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0),
    )


def _inputs(path: Path, model: Any) -> tuple[tuple[str, tuple[int | None, ...]], ...]:
    stored = {tensor.name for tensor in model.graph.initializer}
    found = []
    for entry in model.graph.input:
        # Until IR version 4, stored tensors are inputs too.
        if entry.name in stored:
            continue
        if not entry.type.HasField("tensor_type") or not entry.type.tensor_type.HasField("shape"):
            raise ModelError(
                str(path), expected="inputs that are tensors of known rank", found=f"'{entry.name}'", hint=_EXPORT_HINT
            )
        sizes = entry.type.tensor_type.shape.dim
        # A size of 0 or below is how some exporters write "dynamic".
        found.append((entry.name, tuple(size.dim_value if size.dim_value > 0 else None for size in sizes)))
    return tuple(found)


def _check_external(path: Path, model: Any) -> None:
    """Make sure that weights kept in other files are there, whole, and below the model's own folder."""
    folder = path.parent.resolve()
    for tensor in _tensors(model.graph):
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if tensor.data_location != tensor.EXTERNAL:
            continue
        location = entries.get("location", "")
        target = (folder / location).resolve()
        found = None
        if not location or Path(location).is_absolute() or "\\" in location or not target.is_relative_to(folder):
            found = f"a path outside its folder: {location[:80]!r}"
            hint = "Do not use this file; get the network from who made it."
        elif not target.is_file():
            found, hint = f"no file '{location}' beside it", f"Copy '{location}' into {folder}."
        elif not _fits(entries, target.stat().st_size):
            found, hint = f"'{location}' is too short for '{tensor.name}'", f"Copy '{location}' again."
        if found is not None:
            raise ModelError(str(path), expected="its weights, which are kept in another file", found=found, hint=hint)


def _fits(entries: dict[str, str], size: int) -> bool:
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", 0))
    except ValueError:
        return False
    return min(offset, length) >= 0 and offset + length <= size


def _tensors(graph: Any) -> Iterator[Any]:
    """Yield every stored tensor, those in attributes and subgraphs included."""
    pending = [graph]
    while pending:
        current = pending.pop()
        yield from current.initializer
        for node in current.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
                pending += [attribute.g] if attribute.HasField("g") else []
                pending += list(attribute.graphs)


def _refuse_quantized(path: Path, model: Any) -> None:
    kinds = {node.op_type for node in model.graph.node}
    quantized = sorted(
        kind for kind in kinds if kind in (*_QUANTIZED, *_INTEGER_ARITHMETIC) or kind.startswith("QLinear")
    )
    if quantized:
        raise ModelError(
            str(path),
            expected="a network in floating point",
            found=f"one that is already quantized ({', '.join(quantized[:3])})",
            hint="Give the float network it was made from; EdgeKD quantizes it itself.",
        )
