"""From the path of an ONNX file to a module that computes the same."""

from __future__ import annotations

from pathlib import Path

import onnx
from torch import fx

from edgekd.errors import ModelError
from edgekd.models.floats import require_plain_weights
from edgekd.models.onnx.network import build_network
from edgekd.models.onnx.reader import OnnxFile, read_onnx
from edgekd.models.onnx.verify import verify
from edgekd.models.signature import float32_for
from edgekd.records import Finding, TensorSpec

# TensorProto.DataType
_OTHER_FLOATS = {10: "float16", 11: "float64", 16: "bfloat16"}


def open_onnx(
    path: Path, given: tuple[TensorSpec, ...]
) -> tuple[fx.GraphModule, tuple[TensorSpec, ...], tuple[Finding, ...]]:
    """Return the network in an ONNX file, its inputs, and remarks.

    Args:
        path: The file.
        given: Sizes for those that the file leaves open.

    Raises:
        ModelError: It is damaged, quantized, of unknown sizes, or has operators that are not known.
    """
    file = read_onnx(path)
    network = build_network(path, file)
    require_plain_weights(str(path), network.state_dict().items())
    inputs = tuple(_input(path, file, index, given) for index in range(len(file.inputs)))
    return network, inputs, _float_remark(path, file) + verify(path, file, network, inputs)


def _input(path: Path, file: OnnxFile, index: int, given: tuple[TensorSpec, ...]) -> TensorSpec:
    """An input with the sizes of the file, and those that it leaves open as they were given."""
    name, (_, *own) = file.inputs[index]
    is_given = len(given) == len(file.inputs) and len(given[index].shape) == len(own)
    others = given[index].shape if is_given else (None,) * len(own)
    sizes = [size if size is not None else other for size, other in zip(own, others, strict=True)]
    known = tuple(size for size in sizes if size is not None)
    if len(known) < len(own):
        shown = ", ".join("?" if size is None else str(size) for size in own)
        raise ModelError(
            str(path),
            expected=f"the size of the input '{name}'",
            found=f"dynamic sizes: [batch, {shown}]",
            hint="Give it with --input-size, for instance --input-size 3,32,32.",
        )
    return TensorSpec(name=name, shape=known, dtype=_type_of(file, name))


def _type_of(file: OnnxFile, name: str) -> str:
    value = next(value for value in file.model.graph.input if value.name == name)
    dtype = str(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
    return float32_for(dtype)


def _float_remark(path: Path, file: OnnxFile) -> tuple[Finding, ...]:
    kinds = {_OTHER_FLOATS[t.data_type] for t in file.model.graph.initializer if t.data_type in _OTHER_FLOATS}
    if not kinds:
        return ()
    message = f"its weights are {', '.join(sorted(kinds))}; they were converted to float32"
    return (Finding(level="note", code="weights-converted", subject=str(path), message=message),)
