"""Refuse `.pt2` archives whose opening would run code that they carry.

`torch.export.load` trusts its archive: it unpickles what the archive says is pickled, loads compiled libraries,
evaluates expressions of symbolic sizes with `sympy.sympify`, which is Python's `eval`, and writes the names of values
into the source of the graph's `forward`. So only the parts that an exported program of plain tensors has are let
through, and the texts among them that become code must have the form that torch writes. The rest is refused, known
trick or not. This makes a hostile file much harder to write; it is no sandbox.
"""

from __future__ import annotations

import ast
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch

from edgekd.errors import ModelError, UnsafeFileError

TRUST_HINT = "If you made the file or trust who did, add --trust-pickle; better, save it as .pt2 or .safetensors."

# Below the archive's top folder. The `.pt` parts (sample inputs; weights of older torch) are opened to look inside.
_PLAIN_PART = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/(version|serialization_id)|extra/.+"
    r"|models/[\w.-]+\.json|data/weights/(weight_\d+|[\w.-]+_weights_config\.json|[\w.-]+\.pt)"
    r"|data/constants/(tensor_\d+|[\w.-]+_constants_config\.json|[\w.-]+\.pt)|data/sample_inputs/[\w.-]+\.pt"
)
# Names of values become source; names of parameters may have what `nn.ModuleDict` and users put there.
_VALUE_NAME = re.compile(r"[\w.]*")
_TENSOR_NAME = re.compile(r"[\w.:/ +-]*")
_EXPRESSION_TEXT = re.compile(r"[\w.+-]*")
_EXPRESSION_NODES = (
    *(ast.Expression, ast.Call, ast.keyword, ast.Name, ast.Load, ast.Constant, ast.UnaryOp, ast.BinOp, ast.Compare),
    *(ast.unaryop, ast.operator, ast.cmpop),
)
_EXPRESSION_CALLS = frozenset(
    [
        *("Symbol", "Integer", "Rational", "Float", "Identity", "true", "false"),
        *("Add", "Mul", "Pow", "Max", "Min", "Abs", "Mod", "PythonMod", "FloorDiv", "CleanDiv", "CeilDiv"),
        *("ModularIndexing", "IntTrueDiv", "FloatTrueDiv", "PowByNatural", "floor", "ceiling"),
        *("CeilToInt", "FloorToInt", "RoundToInt", "TruncToInt", "ToFloat"),
        *("Eq", "Ne", "Ge", "Gt", "Le", "Lt", "Equality", "Unequality", "GreaterThan", "LessThan"),
        *("StrictGreaterThan", "StrictLessThan", "And", "Or", "Not", "Where"),
    ]
)


def refuse_code(path: Path, stream: BinaryIO) -> None:
    """Make sure that a `.pt2` holds tensors and a graph and nothing that runs.

    Raises:
        UnsafeFileError: It holds something else.
        ModelError: A part is not the JSON it should be.
    """
    try:
        archive = torch._C.PyTorchFileReader(stream)
        parts = archive.get_all_records()
    except RuntimeError as error:
        found = str(error).partition("\n")[0]
        raise ModelError(
            str(path), expected="an archive that torch reads", found=found, hint="Export the network again."
        ) from error
    # One file can be two archives. torch opens it with its own reader, and when that fails with Python's.
    with zipfile.ZipFile(stream) as other:
        if sorted(name.partition("/")[2] for name in other.namelist()) != sorted(parts):
            raise unsafe(path, "two archives in one file")
    # It finds parts without regard to case, and one of two with the same name.
    if len({part.lower() for part in parts}) != len(parts):
        raise unsafe(path, "two parts of the same name")
    for part in parts:
        if not _PLAIN_PART.fullmatch(part):
            raise unsafe(path, f"'{part}', which an exported program does not need")
        if part.endswith(".pt"):
            _refuse_pickle(path, part, archive.get_record(part))
        elif part.endswith(".json") and not part.startswith("extra/"):
            _refuse_texts(path, part, _parse(path, part, archive.get_record(part)))


def unsafe(path: Path, found: str) -> UnsafeFileError:
    """Return the error for a file with something in it that would run."""
    return UnsafeFileError(
        str(path), expected="weights and a graph, and nothing that runs", found=found, hint=TRUST_HINT
    )


def _refuse_pickle(path: Path, name: str, raw: bytes) -> None:
    # Older torch writes an empty part where there is nothing to say.
    if not raw:
        return
    try:
        torch.load(io.BytesIO(raw), weights_only=True)
    # What is no pickle fails in as many ways as there are instructions in one.
    except Exception as error:
        raise unsafe(path, f"'{name}', which is more than plain tensors") from error


def _parse(path: Path, name: str, raw: bytes) -> Any:
    try:
        return json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(
            str(path), expected=f"JSON in '{name}'", found=str(error), hint="Export the network again."
        ) from error


def _refuse_texts(path: Path, name: str, document: Any) -> None:
    """Walk through a JSON document; the walk keeps its own stack because the document may be deep."""
    rest = [document]
    while rest:
        value = rest.pop()
        if isinstance(value, list):
            rest.extend(value)
        elif isinstance(value, dict):
            for key, inner in value.items():
                problem = _problem(key, inner)
                if problem:
                    raise unsafe(path, f"{problem} in '{name}'")
            rest.extend(value.values())


def _problem(key: str, value: Any) -> str | None:
    if key == "use_pickle" and value is not False:
        return "pickled tensors"
    if key == "path_name" and not (isinstance(value, str) and re.fullmatch(r"(weight|tensor)_\d+", value)):
        return f"the part {str(value)[:80]!r}"
    if key == "expr_str" and not (isinstance(value, str) and _is_plain_expression(value)):
        return f"the expression {str(value)[:80]!r}"
    allowed = _VALUE_NAME if key == "name" else _TENSOR_NAME
    if (key == "name" or key.endswith("_name")) and isinstance(value, str) and not allowed.fullmatch(value):
        return f"the name {value[:80]!r}"
    return None


def _is_plain_expression(text: str) -> bool:
    """Say whether `text` is arithmetic of symbols and of the functions torch writes."""
    try:
        nodes = list(ast.walk(ast.parse(text.strip(), mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    for node in nodes:
        if not isinstance(node, _EXPRESSION_NODES):
            return False
        if isinstance(node, ast.Call) and not isinstance(node.func, ast.Name):
            return False
        if id(node) in called and isinstance(node, ast.Name) and node.id not in _EXPRESSION_CALLS:
            return False
        if isinstance(node, ast.Constant) and not _EXPRESSION_TEXT.fullmatch(str(node.value)):
            return False
    return True
