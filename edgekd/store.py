"""Files that appear whole or not at all, and the layout of a run folder."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgekd.errors import ArtifactError, ExportError, OutputError


@dataclasses.dataclass(frozen=True, slots=True)
class RunFolder:
    """Where the files of one run lie."""

    root: Path

    @property
    def artifacts(self) -> Path:
        """The files to deploy, each with its card."""
        return self.root / "artifacts"

    @property
    def search(self) -> Path:
        """The front."""
        return self.root / "search"

    @property
    def student(self) -> Path:
        """The compressed network, its plan, and the training checkpoints."""
        return self.root / "student"

    @property
    def losses(self) -> Path:
        """The measured losses of plans, one JSON line each."""
        return self.search / "losses.jsonl"

    @property
    def generations(self) -> Path:
        """The candidates of the search, a file a generation."""
        return self.search / "generations"

    @property
    def logs(self) -> Path:
        """TensorBoard events."""
        return self.root / "logs"

    @property
    def plan(self) -> Path:
        """The plan the student was built from."""
        return self.student / "plan.json"

    @property
    def distilled(self) -> Path:
        """The checkpoint of the float student."""
        return self.student / "distill.safetensors"

    @property
    def quantized(self) -> Path:
        """The checkpoint of the student under fake quantization."""
        return self.student / "quantize.safetensors"

    @property
    def baseline(self) -> Path:
        """The checkpoint of the fine-tuned-only baseline."""
        return self.student / "baseline.safetensors"

    @property
    def report(self) -> Path:
        """The report in its forms."""
        return self.root / "report"

    @property
    def manifest(self) -> Path:
        """What the run was asked for, by which a resumed run knows that it is the same one."""
        return self.root / "manifest.json"

    @property
    def progress(self) -> Path:
        """How far the stage is that runs now, and the process that runs it."""
        return self.root / "progress.json"

    @property
    def journal(self) -> Path:
        """One JSON line for each finished stage."""
        return self.root / "journal.jsonl"


def create_run(root: Path) -> RunFolder:
    """Make a run folder, or use one that is there.

    Raises:
        OutputError: It cannot be made or written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe = root / f".writable-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise OutputError(
            str(root),
            expected="a folder that can be written",
            found=str(error.strerror),
            hint="Choose another with --run.",
        ) from error
    return RunFolder(root)


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; move it over `path` if the block ends well, remove it if not.

    Raises:
        ExportError: The disk is full, or the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise ExportError(
            str(path),
            expected="room for the file" if is_full else "a place that can be written",
            found=str(error.strerror or error),
            hint="Free some space and run again with --resume: finished stages are kept.",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a frozen record or plain value as JSON, whole or not at all."""
    plain = dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
    write_text(path, json.dumps(plain, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Return the value in a JSON file.

    Raises:
        ArtifactError: There is none, or it is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ArtifactError(
            str(path),
            expected="a JSON file",
            found=str(error),
            hint="Give the folder of a finished run.",
        ) from error


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
