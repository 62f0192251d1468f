"""Reading zip files that nobody vouches for: every check happens before a member's bytes are used.

Nothing is ever written to disk, so a hostile name cannot reach a file; such names are refused all the same,
because a data set that has them was made to be unpacked by somebody less careful.
"""

from __future__ import annotations

import re
import stat
import zipfile
import zlib
from pathlib import Path
from typing import Literal

from edgekd.errors import DataError

# What a damaged or unreadable member raises when it is opened or read.
READ_ERRORS = (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)

MAX_MEMBER_BYTES = 256 * 2**20
MAX_TOTAL_BYTES = 1024 * 2**30
# Deflate reaches 1032 on zeros; photographs stay near 1. Small archives are let off, for they can do no harm.
MAX_RATIO = 100
RATIO_FREE_BYTES = 64 * 2**20
# Both are decompressed by the standard library in bounded steps, so a member that understates its size is cut
# off there. bz2 and lzma members are inflated as a whole, which is why they are refused.
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")

FileKind = Literal["zip", "arrays", "damaged zip", "other"]


def file_kind(path: Path) -> FileKind:
    """Tell by its contents what a file is; `arrays` is a zip of `.npy` members, as numpy's `savez` writes."""
    try:
        with path.open("rb") as stream:
            head = stream.read(4)
        if not zipfile.is_zipfile(path):
            return "damaged zip" if head in _SIGNATURES else "other"
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except OSError as error:
        raise unreadable(str(path), error) from error
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return "damaged zip"
    return "arrays" if names and all(name.endswith(".npy") for name in names) else "zip"


def open_archive(path: Path, *, max_member_bytes: int = MAX_MEMBER_BYTES) -> zipfile.ZipFile:
    """Open a zip file whose member list has passed every check; the caller closes it.

    Raises:
        DataError: The file is damaged, or a member has a name that leaves the archive, is a link, is
            encrypted, is there twice or unpacks to an absurd size.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise damaged(path) from error
    except OSError as error:
        raise unreadable(str(path), error) from error
    try:
        _check_members(path, archive.infolist(), max_member_bytes)
    except DataError:
        archive.close()
        raise
    return archive


def damaged(path: Path) -> DataError:
    """Return the error for a file that begins like a zip file and does not end like one."""
    return DataError(
        str(path),
        expected="a whole zip file",
        found="a damaged or truncated one",
        hint="Download or pack it again; 'python -m zipfile -t FILE' tells whether it is whole.",
    )


def unreadable(where: str, error: OSError) -> DataError:
    """Return the error for a file or folder that the system does not let us read."""
    return DataError(
        where,
        expected="a readable file or folder",
        found=error.strerror or str(error),
        hint="Check the path and its permissions.",
    )


def _check_members(path: Path, members: list[zipfile.ZipInfo], max_member_bytes: int) -> None:
    seen: set[str] = set()
    total_bytes = 0
    for member in members:
        fault = _fault(member, max_member_bytes)
        if fault is None and member.filename in seen:
            fault = "is there twice"
        if fault is not None:
            raise DataError(
                str(path),
                expected="a zip file of plain files under relative names",
                found=f"member '{member.filename}', which {fault}",
                hint="Do not use this file unless you know who made it; otherwise pack the folder again.",
            )
        seen.add(member.filename)
        total_bytes += member.file_size
    packed_bytes = max(path.stat().st_size, 1)
    is_swollen = total_bytes > RATIO_FREE_BYTES and total_bytes > MAX_RATIO * packed_bytes
    if is_swollen or total_bytes > MAX_TOTAL_BYTES:
        raise DataError(
            str(path),
            expected=f"a zip file that unpacks to at most {MAX_RATIO} times its size",
            found=f"{packed_bytes:,} bytes that unpack to {total_bytes:,}",
            hint="This looks like a zip bomb. If it is not, give the unpacked folder instead.",
        )


def _fault(member: zipfile.ZipInfo, max_member_bytes: int) -> str | None:
    # ZipInfo replaces the system's separator and cuts at NUL; `orig_filename` is what stands in the file.
    name = member.orig_filename
    parts = name.removesuffix("/").split("/")
    file_type = stat.S_IFMT(member.external_attr >> 16)
    if "\0" in name or "\\" in name or name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "has an absolute or foreign name"
    if any(part in ("", ".", "..") for part in parts):
        return "has a name that leads elsewhere"
    if file_type == stat.S_IFLNK:
        return "is a symbolic link"
    if file_type not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is not a plain file"
    if member.flag_bits & 0x1:
        return "is encrypted"
    if member.compress_type not in _METHODS:
        return "is compressed by a method other than deflate"
    if member.file_size > max_member_bytes:
        return f"unpacks to {member.file_size:,} bytes"
    return None
