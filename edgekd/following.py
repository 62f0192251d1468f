"""What a run folder tells of a run that goes on, has ended, or was broken off."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgekd.errors import ArtifactError
from edgekd.progress import finished_line
from edgekd.quantities import describe_metric
from edgekd.records import StageResult
from edgekd.report.decode import decode
from edgekd.report.document import read_report
from edgekd.store import RunFolder

State = Literal["running", "stopped", "pass", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How far a run is: the stages that have ended, and the one that runs or was broken off.

    `total` is 0 where the stage does not know its length yet.
    """

    state: State
    finished: tuple[StageResult, ...]
    stage: str = ""
    done: int = 0
    total: int = 0
    text: str = ""


def read_status(run: Path) -> Status:
    """Return how far a run is.

    Raises:
        ArtifactError: The folder is not that of a run, or its report is damaged.
    """
    folder = RunFolder(run)
    if not folder.manifest.is_file():
        raise ArtifactError(
            str(run),
            expected="the folder of a run",
            found="no manifest.json in it",
            hint="Give the folder that `edgekd compress --run` writes.",
        )
    finished = _read_journal(folder.journal)
    latest = _read_latest(folder.progress)
    if _is_newer(folder.report / "report.json", folder.progress):
        return Status(state=read_report(run).verdict, finished=finished)
    fields = {name: latest[name] for name in ("stage", "done", "total", "text") if name in latest}
    return Status(state="running" if _is_alive(latest.get("process")) else "stopped", finished=finished, **fields)


def stage_text(result: StageResult) -> str:
    """Return the line of a stage that has ended, with its metric where the summary does not say it."""
    line = finished_line(result.name, result.summary, result.seconds)
    metric = None if result.accuracy is None else describe_metric(result.accuracy)
    return line if metric is None or metric in line else f"{line}  {metric}"


def _read_journal(path: Path) -> tuple[StageResult, ...]:
    """Return the stages that have ended, each as it ended last; a line that a kill tore off is passed over."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return ()
    found: dict[str, StageResult] = {}
    for line in lines:
        try:
            result = decode(StageResult, json.loads(line), str(path), "")
        except (ValueError, RecursionError, ArtifactError):
            continue
        found.pop(result.name, None)
        found[result.name] = result
    return tuple(found.values())


def _read_latest(path: Path) -> dict[str, Any]:
    try:
        latest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    kinds = {"stage": str, "done": int, "total": int, "text": str, "process": int}
    is_whole = isinstance(latest, dict) and all(type(latest.get(name)) is kind for name, kind in kinds.items())
    return latest if is_whole else {}


def _is_newer(path: Path, other: Path) -> bool:
    """Say whether a file is there and was written after another; a run that is resumed writes its progress anew."""
    if not path.is_file():
        return False
    return not other.is_file() or path.stat().st_mtime_ns >= other.stat().st_mtime_ns


def _is_alive(process: int | None) -> bool:
    """Say whether a process of this machine runs; of another machine's it cannot be known."""
    if process is None or process <= 0:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it runs, and is somebody else's
    return True
