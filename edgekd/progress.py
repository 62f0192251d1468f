"""How long work tells what it is doing: a small protocol, and the ways in which it is shown and kept."""

from __future__ import annotations

import json
import os
import time
from typing import Protocol, TextIO

from edgekd.store import RunFolder, write_json


class Progress(Protocol):
    """What stages report to."""

    def begin(self, stage: str) -> None:
        """Say that a stage begins."""

    def update(self, done: int, total: int, text: str) -> None:
        """Say how far the stage is, with its latest figure."""

    def end(self, summary: str) -> None:
        """Say that the stage has ended, and with what."""


class Silent:
    """Shows nothing."""

    def begin(self, stage: str) -> None:
        """Do nothing."""

    def update(self, done: int, total: int, text: str) -> None:
        """Do nothing."""

    def end(self, summary: str) -> None:
        """Do nothing."""


class Lines:
    """One line a stage, or, on a terminal, a line that is rewritten while the stage runs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._stage = ""
        self._began = 0.0
        self._shown = 0.0

    def begin(self, stage: str) -> None:
        """Remember the stage's name and time."""
        self._stage = stage
        self._began = self._shown = time.monotonic()

    def update(self, done: int, total: int, text: str) -> None:
        """Rewrite the line, a few times a second at the most."""
        now = time.monotonic()
        if not self._is_terminal or now - self._shown < 0.2:
            return
        self._shown = now
        left = (now - self._began) / max(done, 1) * (total - done)
        share = f"{done / max(total, 1):4.0%}"
        self._stream.write(f"\r\x1b[K{self._stage:<9}{share}  {text}  about {_duration(left)} left"[:200])
        self._stream.flush()

    def end(self, summary: str) -> None:
        """Write the stage's one line."""
        start = "\r\x1b[K" if self._is_terminal else ""
        seconds = time.monotonic() - self._began
        self._stream.write(f"{start}{finished_line(self._stage, summary, seconds)}\n")
        self._stream.flush()


def finished_line(stage: str, summary: str, seconds: float) -> str:
    """Return the one line of a stage that has ended."""
    return f"{stage:<9}{summary}  ({_duration(seconds)})"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


class Events:
    """Writes each event as one line of JSON, for programs that follow a run."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._stage = ""
        self._began = self._told = 0.0

    def begin(self, stage: str) -> None:
        """Write that a stage begins."""
        self._stage, self._began, self._told = stage, time.monotonic(), 0.0
        self._write("begin")

    def update(self, done: int, total: int, text: str) -> None:
        """Write how far the stage is, once a second at the most, and always its end."""
        now = time.monotonic()
        if done < total and now - self._told < 1.0:
            return
        self._told = now
        left = (now - self._began) / done * (total - done) if done else None
        self._write("update", done=done, total=total, text=text, seconds_left=None if left is None else round(left, 1))

    def end(self, summary: str) -> None:
        """Write that the stage has ended, and with what."""
        self._write("end", summary=summary, seconds=round(time.monotonic() - self._began, 3))

    def _write(self, event: str, **fields: object) -> None:
        line = {"event": event, "stage": self._stage, "time": round(time.time(), 3), **fields}
        self._stream.write(json.dumps(line) + "\n")
        self._stream.flush()


class Recorded:
    """Shows progress as another does, and keeps the latest in a file, by which others can follow the run.

    The file is written once a second at the most, and only where its folder is that of a run.
    """

    def __init__(self, shown: Progress, run: RunFolder) -> None:
        self._shown = shown
        self._run = run
        self._stage = ""
        self._written = 0.0

    def begin(self, stage: str) -> None:
        """Pass it on, and keep it."""
        self._shown.begin(stage)
        self._stage = stage
        self._keep(0, 0, "")

    def update(self, done: int, total: int, text: str) -> None:
        """Pass it on, and keep it if the last was kept a second ago."""
        self._shown.update(done, total, text)
        if time.monotonic() - self._written >= 1.0:
            self._keep(done, total, text)

    def end(self, summary: str) -> None:
        """Pass it on; what has ended stands in the journal."""
        self._shown.end(summary)

    def _keep(self, done: int, total: int, text: str) -> None:
        if not self._run.manifest.is_file():
            return
        self._written = time.monotonic()
        latest = {"stage": self._stage, "done": done, "total": total, "text": text, "process": os.getpid()}
        write_json(self._run.progress, latest)
