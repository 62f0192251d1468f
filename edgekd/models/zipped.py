"""Look into the directory of a zip archive, before anything in it is unpacked."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import BinaryIO

from edgekd.errors import ModelError

# torch stores its parts as they are and compresses little texts only, so what unpacks to much more is no model.
_FREE_BYTES = 64 * 2**20
_MOST_RATIO = 20
_MOST_ENTRIES = 1_000_000
_OUTSIDE = re.compile(r"(^|[/\\])\.\.([/\\]|$)|^[/\\]|^[A-Za-z]:|\x00")


def zip_names(path: Path, stream: BinaryIO) -> list[str]:
    """Return the names in an archive that is whole, and whose parts stay inside it and in proportion.

    Raises:
        ModelError: It is damaged, a name points outside, or it would unpack to far more than it is.
    """
    try:
        with zipfile.ZipFile(stream) as archive:
            entries = archive.infolist()
            _refuse_hostile(path, entries)
            damaged = archive.testzip()
    except ModelError:
        raise
    # Besides BadZipFile: errors of decoding, decompressing, encryption, ..., whatever the damage makes of a header.
    except Exception as error:
        raise _damaged(path, f"a truncated or damaged archive ({error})") from error
    if damaged is not None:
        raise _damaged(path, f"a damaged entry '{damaged}'")
    return [entry.filename for entry in entries]


def _refuse_hostile(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    size = path.stat().st_size
    total = sum(entry.file_size for entry in entries)
    found = next((f"the entry {e.filename[:80]!r}" for e in entries if _OUTSIDE.search(e.filename)), None)
    if total > _FREE_BYTES + _MOST_RATIO * size:
        found = f"{size:,} bytes that unpack to {total:,}, a zip bomb"
    elif len(entries) > _MOST_ENTRIES:
        found = f"{len(entries):,} entries"
    if found is not None:
        raise ModelError(
            str(path),
            expected="an archive as torch writes it",
            found=found,
            hint="Do not use this file; get the network from who made it, as .pt2 or .safetensors.",
        )


def _damaged(path: Path, found: str) -> ModelError:
    return ModelError(str(path), expected="a whole zip archive", found=found, hint="Copy or save the file again.")
