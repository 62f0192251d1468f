"""The stages of a run as they end: shown to the user, kept for the report, and appended to the run's journal."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path

from edgekd.errors import OutputError
from edgekd.progress import Progress
from edgekd.records import Metric, StageResult


@dataclasses.dataclass(slots=True)
class Outcome:
    """What a stage fills in while it runs."""

    summary: str = "done"
    accuracy: Metric | None = None
    macs: int | None = None
    parameters: int | None = None


class Journal:
    """The stages that have ended, in order."""

    def __init__(self, path: Path, progress: Progress) -> None:
        self._path = path
        self._progress = progress
        self.results: list[StageResult] = []

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Outcome]:
        """Run a stage: the block fills in the outcome, which is recorded if the block ends well."""
        self._progress.begin(name)
        began = time.monotonic()
        outcome = Outcome()
        yield outcome
        result = StageResult(
            name=name,
            summary=outcome.summary,
            seconds=time.monotonic() - began,
            accuracy=outcome.accuracy,
            macs=outcome.macs,
            parameters=outcome.parameters,
        )
        self.results.append(result)
        self._append(result)
        self._progress.end(outcome.summary)

    def _append(self, result: StageResult) -> None:
        line = json.dumps(dataclasses.asdict(result)) + "\n"
        try:
            with self._path.open("ab+") as stream:
                # A run that was killed while it wrote leaves a line without an end.
                stream.seek(max(0, stream.tell() - 1))
                is_torn = stream.read(1) not in (b"", b"\n")
                stream.write((b"\n" if is_torn else b"") + line.encode())
        except OSError as error:
            raise OutputError(
                str(self._path),
                expected="room for a line",
                found=str(error.strerror),
                hint="Free some space and run again with --resume.",
            ) from error
