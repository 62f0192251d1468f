"""Tasks by name: the included ones, and those that installed packages offer as `edgekd.tasks` entry points."""

from __future__ import annotations

import importlib.metadata
from types import MappingProxyType
from typing import Any

from edgekd.errors import MissingDependencyError, UnknownNameError
from edgekd.tasks.classification import CLASSIFICATION
from edgekd.tasks.embedding import EMBEDDING
from edgekd.tasks.multi_label import MULTI_LABEL
from edgekd.tasks.regression import REGRESSION
from edgekd.tasks.segmentation import SEGMENTATION
from edgekd.tasks.task import Task

GROUP = "edgekd.tasks"
_INCLUDED = MappingProxyType(
    {task.name: task for task in (CLASSIFICATION, MULTI_LABEL, REGRESSION, SEGMENTATION, EMBEDDING)}
)
_MEMBERS = (
    "source",
    "output",
    "metric",
    "parity",
    "read_targets",
    "check",
    "loss",
    "distillation",
    "meter",
    "agreement",
)


def task_names() -> tuple[str, ...]:
    """Return every name that `load_task` takes; no outside package is loaded for it."""
    outside = {point.name for point in importlib.metadata.entry_points(group=GROUP)}
    return tuple(sorted(outside | set(_INCLUDED)))


def load_task(name: str, where: str = "--task") -> Task:
    """Return the task of that name.

    Raises:
        UnknownNameError: There is none; the nearest is suggested.
        MissingDependencyError: Two packages offer the name, or it is an included one; or the package that offers it
            cannot be loaded, or gives something that is no task.
    """
    points = tuple(importlib.metadata.entry_points(group=GROUP, name=name))
    if len(points) + (name in _INCLUDED) > 1:
        offered = [f"'{point.value}'" for point in points] + (["EdgeKD itself"] if name in _INCLUDED else [])
        raise MissingDependencyError(
            f"{where} {name}",
            expected="one task of that name",
            found=f"{len(offered)}: {', '.join(offered)}",
            hint="Uninstall the other package, or have its task renamed.",
        )
    if points:
        return _load(points[0], where)
    if name not in _INCLUDED:
        raise UnknownNameError(where, name, task_names())
    return _INCLUDED[name]


def _load(point: importlib.metadata.EntryPoint, where: str) -> Task:
    try:
        found: Any = point.load()
    # Whatever a stranger's module raises when it is imported.
    except Exception as error:
        raise _broken(point, where, f"{type(error).__name__}: {error}") from error
    task: Task = found() if isinstance(found, type) else found
    missing = [member for member in ("name", *_MEMBERS) if not hasattr(task, member)]
    if missing or task.name != point.name:
        told = f"an object without {', '.join(missing)}" if missing else f"a task that calls itself '{task.name}'"
        raise _broken(point, where, told)
    return task


def _broken(point: importlib.metadata.EntryPoint, where: str, found: str) -> MissingDependencyError:
    return MissingDependencyError(
        f"{where} {point.name}",
        expected=f"a task at '{point.value}'",
        found=found,
        hint="Repair or uninstall the package that offers it; docs/tasks.md says what a task has.",
    )
