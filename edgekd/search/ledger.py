"""What has been measured of plans, in memory and as JSON lines on disk, so that nothing is measured twice."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.errors import OutputError
from edgekd.records import Plan
from edgekd.store import write_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a plan is worth on the search split: its loss, infinite if it is not finite, and the task's metric."""

    loss: float
    metric: float | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.loss):
            object.__setattr__(self, "loss", math.inf)


MeasureFunction = Callable[[Plan], Score]


class Ledger:
    """The scores of plans by their id.

    Each line has the seconds since the line before it, the search's own computation included, so that a search with a
    time budget ends at the same plan when it is done again.

    Args:
        path: The file, or `None` for memory alone.
        measure: Measures a plan that is not known.
        clock: Seconds from any beginning.
    """

    def __init__(
        self, path: Path | None, measure: MeasureFunction, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.path = path
        self._measure = measure
        self._clock = clock
        self._lap = clock()
        self._known: dict[str, tuple[Score, float]] = {}
        if path is not None and path.is_file():
            self._read(path)

    def score(self, plan: Plan) -> tuple[Score, float]:
        """Return a plan's score and the seconds it took, measured now or before.

        Raises:
            OutputError: It was measured and cannot be written.
        """
        if plan.id not in self._known:
            score = self._measure(plan)
            seconds = round(self._clock() - self._lap, 4)
            self._known[plan.id] = score, seconds
            self._append(plan, score, seconds)
        self._lap = self._clock()
        return self._known[plan.id]

    def _read(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8", errors="replace")
        whole = "".join(line + "\n" for line in text.splitlines() if self._enter(line))
        if text != whole:
            write_text(path, whole)

    def _enter(self, line: str) -> bool:
        """Take over a line; not if the run was killed while it wrote it: then the plan is measured again."""
        try:
            entry = json.loads(line)
            loss = math.inf if entry["loss"] is None else float(entry["loss"])
            metric = None if entry.get("metric") is None else float(entry["metric"])
            self._known[entry["plan"]] = Score(loss=loss, metric=metric), float(entry.get("seconds", 0.0))
        except (ValueError, KeyError, TypeError, AttributeError):
            return False
        return True

    def _append(self, plan: Plan, score: Score, seconds: float) -> None:
        if self.path is None:
            return
        entry: dict[str, Any] = {"plan": plan.id, "loss": finite(score.loss)}
        if score.metric is not None:
            entry["metric"] = finite(score.metric)
        entry["seconds"] = seconds
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise OutputError(
                str(self.path), expected="room to write", found=str(error.strerror), hint="Free some space."
            ) from error


def finite(number: float | None) -> float | None:
    """Return a number as JSON can hold it: nothing for one that is not finite."""
    return number if number is not None and math.isfinite(number) else None
