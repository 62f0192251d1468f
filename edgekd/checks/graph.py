"""What an ONNX file says about itself, read from its bytes alone: operators, operator sets, stored parameters.

An ONNX file is a Protocol Buffers message. Reading only the few fields that are needed here takes a few milliseconds;
importing the `onnx` package would take longer than the whole check.

Source: https://protobuf.dev/programming-guides/encoding for the encoding, and onnx/onnx.proto of the ONNX project for
the numbers of the fields.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgekd.errors import ArtifactError

_HINT = "Make the file again: it is cut off, or no ONNX file."
_STANDARD = ("", "ai.onnx")
# Numbers of TensorProto.DataType that hold weights: floats of all widths, bytes, and the int32 of quantized biases.
_WEIGHT_TYPES = frozenset({1, 2, 3, 6, 10, 11, 16, 21, 22})
_QUANTIZING = frozenset({"QuantizeLinear", "DequantizeLinear"})
_DEEPEST = 32

_Field = tuple[int, int, int | memoryview]


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphSummary:
    """What a file says about itself.

    `operators` counts the nodes by (domain, operator), graphs inside of nodes included; the standard domain is empty.
    Functions that the file defines itself are left out, the nodes in them count. `parameters` are the stored numbers
    without scales and zero points of quantization, and without the sizes, axes and indices that are stored as int64.
    """

    opset: int
    opsets: tuple[tuple[str, int], ...]
    operators: tuple[tuple[tuple[str, str], int], ...]
    parameters: int


def read_graph(path: Path) -> GraphSummary:
    """Return the summary of an ONNX file.

    Raises:
        ArtifactError: It cannot be read, or is no ONNX file.
    """
    try:
        content = memoryview(path.read_bytes())
        return _summary(content)
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ArtifactError(str(path), expected="an ONNX file", found=str(reason), hint=_HINT) from error


def _summary(content: memoryview) -> GraphSummary:
    opsets: dict[str, int] = {}
    nodes: list[_Node] = []
    sizes: dict[str, int] = {}
    own: set[tuple[str, str]] = set()
    graphs = 0
    for number, _, value in _fields(content):
        if number == 7:
            graphs += 1
            _read_graph(_message(value), nodes, sizes, 0)
        elif number == 8:
            fields = {inner: found for inner, _, found in _fields(_message(value))}
            domain = _text(fields.get(1, memoryview(b"")))
            opsets["" if domain in _STANDARD else domain] = _number(fields.get(2, 0))
        elif number == 25:
            own.add(_read_function(_message(value), nodes))
    if graphs != 1 or not opsets:
        raise ValueError("no graph with its operator sets")
    scales = {name for node in nodes if node.operator in _QUANTIZING for name in node.inputs[1:]}
    counts = Counter((node.domain, node.operator) for node in nodes)
    return GraphSummary(
        opset=opsets.get("", 0),
        opsets=tuple(sorted(opsets.items())),
        operators=tuple(sorted((key, count) for key, count in counts.items() if key not in own)),
        parameters=sum(size for name, size in sizes.items() if name not in scales),
    )


@dataclass(frozen=True, slots=True)
class _Node:
    domain: str
    operator: str
    inputs: tuple[str, ...]


def _read_graph(content: memoryview, nodes: list[_Node], sizes: dict[str, int], depth: int) -> None:
    """Add the nodes and stored tensors of a GraphProto."""
    if depth > _DEEPEST:
        raise ValueError("graphs inside of graphs without end")
    for number, _, value in _fields(content):
        if number == 1:
            _read_node(_message(value), nodes, sizes, depth)
        elif number == 5:
            name, size = _tensor(_message(value))
            sizes[name] = size


def _read_function(content: memoryview, nodes: list[_Node]) -> tuple[str, str]:
    """Add the nodes of a FunctionProto and return its domain and name."""
    name, domain = "", ""
    for number, _, value in _fields(content):
        if number == 1:
            name = _text(value)
        elif number == 10:
            domain = _text(value)
        elif number == 7:
            _read_node(_message(value), nodes, {}, 0)
    return domain, name


def _read_node(content: memoryview, nodes: list[_Node], sizes: dict[str, int], depth: int) -> None:
    inputs: list[str] = []
    operator, domain = "", ""
    for number, _, value in _fields(content):
        if number == 1:
            inputs.append(_text(value))
        elif number == 4:
            operator = _text(value)
        elif number == 7:
            domain = _text(value)
        elif number == 5:  # an attribute; its fields 6 and 11 are graphs
            for inner, _, graph in _fields(_message(value)):
                if inner in (6, 11):
                    _read_graph(_message(graph), nodes, sizes, depth + 1)
    nodes.append(_Node("" if domain in _STANDARD else domain, operator, tuple(inputs)))


def _tensor(content: memoryview) -> tuple[str, int]:
    """Return a tensor's name and how many weights it holds."""
    dimensions: list[int] = []
    name, kind = "", 0
    for number, wire, value in _fields(content):
        if number == 1:
            dimensions += [_number(value)] if wire == 0 else list(_packed(_message(value)))
        elif number == 2:
            kind = _number(value)
        elif number == 8:
            name = _text(value)
    return name, math.prod(dimensions) if kind in _WEIGHT_TYPES else 0


def _fields(content: memoryview) -> Iterator[_Field]:
    """Yield number, wire type and value of every field: a number, or the bytes of it."""
    position, end = 0, len(content)
    while position < end:
        key, position = _varint(content, position)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, position = _varint(content, position)
            yield number, wire, value
            continue
        if wire == 2:
            length, position = _varint(content, position)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"a field of the unknown kind {wire}")
        if length > end - position:
            raise ValueError(f"a field of {length} bytes of which {end - position} are there")
        yield number, wire, content[position : position + length]
        position += length


def _varint(content: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(content):
            raise ValueError("a number that is cut off")
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number without end")


def _packed(content: memoryview) -> Iterator[int]:
    position = 0
    while position < len(content):
        value, position = _varint(content, position)
        yield value


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where a message belongs")  # noqa: TRY004  # about the file, not about types here
    return value


def _number(value: int | memoryview) -> int:
    if not isinstance(value, int):
        raise ValueError("a message where a number belongs")  # noqa: TRY004  # about the file, not about types here
    return value


def _text(value: int | memoryview) -> str:
    return bytes(_message(value)).decode("utf-8")
