"""Read a model file and name its kind by looking inside; the suffix says nothing."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from edgekd.errors import ModelError

_FORMS_HINT = "Accepted: .pt2 (torch.export.save), .safetensors or a weights-only state dict with --arch."


def read_model_file(path: Path) -> bytes:
    """Return the bytes of a model file.

    Raises:
        ModelError: It is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(str(path), expected="a model file", found="nothing there", hint="Check the path.") from error
    except OSError as error:
        raise ModelError(
            str(path), expected="a readable model file", found=str(error.strerror), hint=_FORMS_HINT
        ) from error


def form_of(path: Path, content: bytes) -> str:
    """Name the kind of file from what is in it: `pt2`, `safetensors`, `torch-zip` (state dict or pickled module).

    Raises:
        ModelError: It is of no kind that is read, or damaged.
    """
    if content[:4] == b"PK\x03\x04":
        names = _archive_names(path, content)
        if any(name.endswith("/archive_format") or name == "archive_format" for name in names):
            return "pt2"
        if any("/code/" in name for name in names):
            raise ModelError(
                str(path),
                expected="an exported program or weights",
                found="a TorchScript archive",
                hint="TorchScript is not read yet. " + _FORMS_HINT,
            )
        if any(name.endswith("data.pkl") for name in names):
            return "torch-zip"
    if len(content) > 8 and content[8:9] == b"{" and int.from_bytes(content[:8], "little") < len(content):
        return "safetensors"
    if content[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        return "torch-zip"
    raise ModelError(str(path), expected="a model file", found=_describe(content), hint=_FORMS_HINT)


def _archive_names(path: Path, content: bytes) -> list[str]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            damaged, names = archive.testzip(), archive.namelist()
    # Besides BadZipFile: errors of decoding, decompressing, encryption, ..., whatever the damage makes of a header.
    except Exception as error:
        raise _damaged(path, f"a truncated or damaged archive ({error})") from error
    if damaged is not None:
        raise _damaged(path, f"a damaged entry '{damaged}'")
    return names


def _damaged(path: Path, found: str) -> ModelError:
    return ModelError(str(path), expected="a whole zip archive", found=found, hint="Copy or save the file again.")


def _describe(content: bytes) -> str:
    if not content:
        return "an empty file"
    try:
        content[:200].decode("utf-8")
    except UnicodeDecodeError:
        return f"{len(content)} bytes of an unknown format"
    return "a text file"
