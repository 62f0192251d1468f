"""Tasks by name: the included ones, and those that installed packages offer as `edgekd.tasks` entry points."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from edgekd.errors import UnknownNameError
from edgekd.registry import broken, load_outside, outside_names
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
    return tuple(sorted(outside_names(GROUP) | set(_INCLUDED)))


def load_task(name: str, where: str = "--task") -> Task:
    """Return the task of that name.

    Raises:
        UnknownNameError: There is none; the nearest is suggested.
        MissingDependencyError: Two packages offer the name, or it is an included one; or the package that offers it
            cannot be loaded, or gives something that is no task.
    """
    found: Any = load_outside(GROUP, name, where, _INCLUDED, "task")
    if found is not None:
        return _checked(found() if isinstance(found, type) else found, name, where)
    if name not in _INCLUDED:
        raise UnknownNameError(where, name, task_names())
    return _INCLUDED[name]


def _checked(task: Any, name: str, where: str) -> Task:
    missing = [member for member in ("name", *_MEMBERS) if not hasattr(task, member)]
    if missing or task.name != name:
        told = f"an object without {', '.join(missing)}" if missing else f"a task that calls itself '{task.name}'"
        raise broken(GROUP, name, where, "task", told)
    checked: Task = task
    return checked
