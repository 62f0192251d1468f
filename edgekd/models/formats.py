"""Name the kind of a model file by looking inside; the suffix says nothing.

Only the beginning of a file and the directory of an archive are read, so that size does not matter. An archive's
parts are read once, one block at a time, against their checksums.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

from edgekd.errors import ModelError
from edgekd.models.zipped import zip_names
from edgekd.records import Finding

FORMS_HINT = (
    "Accepted: .pt2 (torch.export.save), .onnx, TorchScript .pt, and .safetensors or a weights-only state dict "
    "with --arch."
)
# What each form is usually called; another suffix is remarked upon and does no harm.
_SUFFIXES = {
    "pt2": (".pt2",),
    "onnx": (".onnx",),
    "torchscript": (".pt", ".pth", ".ts", ".jit", ".torchscript"),
    "safetensors": (".safetensors",),
    "torch-zip": (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".tar"),
}
_TITLES = {
    "pt2": "an exported program",
    "onnx": "an ONNX model",
    "torchscript": "a TorchScript archive",
    "safetensors": "safetensors",
    "torch-zip": "what torch.save writes",
}
_OTHERS = (
    (4, b"TFL3", "a TensorFlow Lite model"),
    (0, b"\x89HDF", "an HDF5 file, as Keras writes it"),
    (0, b"GGUF", "a GGUF file"),
)
_HEAD_BYTES = 4096
# A serialized ModelProto is a handful of fields: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
_MODEL_PROTO_FIELDS = frozenset((*range(1, 9), 14, 20, 25, 26))
_MOST_FIELDS = 100_000


def form_of(path: Path) -> str:
    """Name the kind of file from what is in it.

    `pt2`, `onnx`, `torchscript`, `safetensors`, or `torch-zip` for what `torch.save` writes (weights or a pickle).

    Raises:
        ModelError: It is missing, cannot be read, is of no kind that is read, or damaged.
    """
    try:
        with path.open("rb") as stream:
            return _form_of(path, stream)
    except FileNotFoundError as error:
        raise ModelError(str(path), expected="a model file", found="nothing there", hint="Check the path.") from error
    except OSError as error:
        raise ModelError(
            str(path), expected="a readable model file", found=str(error.strerror), hint=FORMS_HINT
        ) from error


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, read block by block."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def suffix_remark(path: Path, form: str) -> tuple[Finding, ...]:
    """Return a note if the file is called something else than what it is."""
    if path.suffix.lower() in _SUFFIXES[form]:
        return ()
    message = f"this is {_TITLES[form]}, whatever '{path.suffix or path.name}' says; it was read as that"
    hint = f"Call it {path.stem}{_SUFFIXES[form][0]}."
    return (Finding(level="note", code="wrong-suffix", subject=str(path), message=message, hint=hint),)


def _form_of(path: Path, stream: BinaryIO) -> str:
    head = stream.read(_HEAD_BYTES)
    size = stream.seek(0, 2)
    if head[:4] == b"PK\x03\x04":
        names = zip_names(path, stream)
        if any(name.endswith("/archive_format") or name == "archive_format" for name in names):
            return "pt2"
        if any("/code/" in name for name in names):
            return "torchscript"
        if any(name.endswith("data.pkl") for name in names):
            return "torch-zip"
    elif len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size:
        return "safetensors"
    elif head[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        return "torch-zip"
    elif _is_onnx(stream, size):
        return "onnx"
    raise ModelError(str(path), expected="a model file", found=_describe(head, size), hint=FORMS_HINT)


def _is_onnx(stream: BinaryIO, size: int) -> bool:
    """Say whether the file is a sequence of a ModelProto's fields, among them a graph and the operator sets."""
    found: set[int] = set()
    position = 0
    for _ in range(_MOST_FIELDS):
        if position == size:
            return {7, 8} <= found
        stream.seek(position)
        tag, length = _varint(stream.read(10))
        value, value_length = _varint(stream.read(10) if stream.seek(position + length) else b"")
        field, kind = tag >> 3, tag & 7
        if not length or not value_length or field not in _MODEL_PROTO_FIELDS or kind not in (0, 2):
            return False
        found.add(field)
        position += length + value_length + (value if kind == 2 else 0)
        if position > size:
            # What was cut off lies in the graph; the decoder says so.
            return field == 7 and 1 in found
    return False


def _varint(raw: bytes) -> tuple[int, int]:
    """Return the number at the beginning and its length in bytes, 0 if there is none."""
    value = 0
    for index, byte in enumerate(raw):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, index + 1
    return 0, 0


def _describe(head: bytes, size: int) -> str:
    if not size:
        return "an empty file"
    for offset, magic, title in _OTHERS:
        if head[offset : offset + len(magic)] == magic:
            return title
    try:
        head[:200].decode("utf-8")
    except UnicodeDecodeError:
        return f"{size} bytes of an unknown format"
    return f"{size} bytes of zeros" if not any(head) else "a text file"
