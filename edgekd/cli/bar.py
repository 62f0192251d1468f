"""Progress on a terminal: the stage with a bar, its throughput, the time left and its latest figure."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from edgekd.progress import finished_line


class _Throughput(ProgressColumn):
    """Steps a second, or seconds a step where a step takes longer than one."""

    def render(self, task: Task) -> Text:
        """Return the column of one line."""
        if not task.speed:
            return Text("")
        return Text(f"{task.speed:.1f}/s" if task.speed >= 1 else f"{1 / task.speed:.1f} s each")


class Bar:
    """A line a stage that has ended, and below them the one that runs."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._console = Console(file=stream, stderr=stream is None)
        self._progress = Progress(
            TextColumn("{task.description:<9}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            _Throughput(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[text]}"),
            console=self._console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._stage = ""
        self._began = 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def begin(self, stage: str) -> None:
        """Show a bar that does not know its length yet."""
        self._remove()
        self._stage, self._began = stage, time.monotonic()
        self._task = self._progress.add_task(stage, total=None, text="")

    def update(self, done: int, total: int, text: str) -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.update(self._task, completed=done, total=max(total, 1), text=escape(text))

    def end(self, summary: str) -> None:
        """Put the stage's line in the place of the bar."""
        self._remove()
        line = finished_line(self._stage, summary, time.monotonic() - self._began)
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _remove(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None
