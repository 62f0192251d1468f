"""The files themselves: readable, whole, and as the card beside them says."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from pathlib import Path

from edgekd.checks.findings import error_finding, finding_of, warning_finding
from edgekd.errors import ArtifactError
from edgekd.records import Artifact, Finding
from edgekd.report.decode import decode, field_names, read_object
from edgekd.store import file_digest

CARD_HINT = "Make the run again, or copy the card together with its artifact."
# What reading a hostile path can raise: ValueError for a NUL in it, RuntimeError for links in a circle.
UNREADABLE = (OSError, ValueError, RuntimeError)
_SHA256 = re.compile(r"[0-9a-f]{64}")


def has_mode(path: Path, is_mode: Callable[[int], bool]) -> bool:
    """Say what kind of file there is, if any.

    Unlike `Path.is_file`, this does not raise for a name that is too long or a folder that may not be entered.
    """
    try:
        return is_mode(path.stat().st_mode)
    except UNREADABLE:
        return False


def card_beside(path: Path) -> tuple[Artifact | None, list[Finding]]:
    """Return the card of a file, if one lies beside it, and what is wrong with it."""
    card_path = path.with_suffix(".json")
    if card_path == path or not has_mode(card_path, stat.S_ISREG):
        return None, []
    try:
        return read_card(card_path), []
    except ArtifactError as error:
        return None, [finding_of("bad-card", error)]


def read_card(path: Path) -> Artifact | None:
    """Return the artifact that a card describes; `None` for JSON that was never meant as a card.

    Raises:
        ArtifactError: The card is damaged.
    """
    where = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UNREADABLE as error:
        raise ArtifactError(where, expected="a card", found=str(error), hint=CARD_HINT) from error
    fields = read_object(text, where, CARD_HINT)
    if not {"sha256", "size_bytes"} & fields.keys():
        return None
    # A card may carry more than is checked here, so fields that are not the artifact's are passed over.
    known = {name: value for name, value in fields.items() if name in field_names(Artifact)}
    card = decode(Artifact, known, where, CARD_HINT)
    if not _SHA256.fullmatch(card.sha256):
        raise ArtifactError(
            f"{where}, sha256",
            expected="64 hexadecimal digits",
            found=repr(card.sha256[:80]),
            hint=CARD_HINT,
        )
    return card


def check_file(path: Path, subject: str, card: Artifact | None) -> tuple[int | None, list[Finding]]:
    """Return a file's size, `None` if it cannot be used, and what there is to say about its presence and bytes."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            message, hint = "this is not a regular file", "Give an artifact file."
            return None, [error_finding("unreadable-file", subject, message, hint)]
        sha256 = file_digest(path)
    except FileNotFoundError:
        hint = "Check the path, or make the run again."
        return None, [error_finding("missing-file", subject, "there is no such file", hint)]
    except UNREADABLE as error:
        return None, [
            error_finding("unreadable-file", subject, f"it cannot be read: {error}", "Check its permissions.")
        ]
    if status.st_size == 0:
        return None, [error_finding("empty-file", subject, "it holds no bytes", "Make the artifact again.")]
    return status.st_size, _compare_with_card(subject, card, status.st_size, sha256) if card else []


def warn_of_external_data(path: Path, subject: str) -> list[Finding]:
    """Warn when ONNX weights may lie in a second file, under the names that exporters give it."""
    beside = [path.with_name(path.name + ending) for ending in (".data", "_data")]
    return [
        warning_finding(
            "external-data",
            subject,
            f"its weights may be in {other.name} beside it, which is not counted",
            "Check that file too, or store the weights in the model.",
        )
        for other in beside
        if path.suffix == ".onnx" and has_mode(other, stat.S_ISREG)
    ]


def _compare_with_card(subject: str, card: Artifact, size_bytes: int, sha256: str) -> list[Finding]:
    hint = "The file was changed or cut off after it was made: copy or make it again, with its card."
    if size_bytes != card.size_bytes:
        message = f"the card says {card.size_bytes:,} bytes, the file has {size_bytes:,}"
        return [error_finding("size-mismatch", subject, message, hint)]
    if sha256 != card.sha256:
        message = f"the card says SHA-256 {card.sha256[:12]}..., the file has {sha256[:12]}..."
        return [error_finding("hash-mismatch", subject, message, hint)]
    return []
