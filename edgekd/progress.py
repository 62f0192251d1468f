"""How long work tells what it is doing: a small protocol, and the two ways the command line shows it."""

from __future__ import annotations

import time
from typing import Protocol, TextIO


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
        self._stream.write(f"{start}{self._stage:<9}{summary}  ({_duration(seconds)})\n")
        self._stream.flush()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
