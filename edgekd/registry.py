"""Things by name that other packages may add to: the included ones, and entry points of installed packages."""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
from collections.abc import Collection
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from edgekd.errors import MissingDependencyError, UnknownNameError


class Named(Protocol):
    """What a registry holds: a class with a name."""

    name: ClassVar[str]


_Class = TypeVar("_Class", bound=Named)


class Registry(Generic[_Class]):
    """Classes by their `name`: those that the modules of one package register, and those of an entry-point group.

    Args:
        kind: What they are, as messages say it.
        group: The entry points of other packages.
        package: Its modules are imported when the registry is first asked.
    """

    def __init__(self, kind: str, group: str, package: str) -> None:
        self._kind, self._group, self._package = kind, group, package
        self._included: dict[str, type[_Class]] = {}

    def register(self, added: type[_Class]) -> type[_Class]:
        """Add a class under its name and return it; a name that is taken is a `ValueError`."""
        if added.name in self._included:
            raise ValueError(f"there is a {self._kind} '{added.name}' already")
        self._included[added.name] = added
        return added

    def included(self) -> dict[str, type[_Class]]:
        """Return the classes of the package, by name."""
        for module in pkgutil.iter_modules(importlib.import_module(self._package).__path__):
            importlib.import_module(f"{self._package}.{module.name}")
        return dict(sorted(self._included.items()))

    def names(self) -> tuple[str, ...]:
        """Return every name that `load` takes; no outside package is loaded for it."""
        return tuple(sorted({*self.included(), *outside_names(self._group)}))

    def load(self, name: str, where: str) -> type[_Class]:
        """Return the class of that name.

        Raises:
            UnknownNameError: There is none; the nearest is suggested.
            MissingDependencyError: Several packages offer the name, or the one that does is broken.
        """
        included = self.included()
        found = load_outside(self._group, name, where, included, self._kind)
        if found is None and name not in included:
            raise UnknownNameError(where, name, self.names())
        if found is None:
            return included[name]
        if getattr(found, "name", None) != name:
            raise broken(self._group, name, where, self._kind, "an object of another name")
        outside: type[_Class] = found
        return outside


def outside_names(group: str) -> set[str]:
    """Return the names that installed packages offer in a group of entry points."""
    return {point.name for point in importlib.metadata.entry_points(group=group)}


def load_outside(group: str, name: str, where: str, included: Collection[str], kind: str) -> Any:
    """Return what an installed package offers under a name, or `None` if none offers it.

    Raises:
        MissingDependencyError: Two packages offer the name, or it is an included one, or it cannot be loaded.
    """
    points = tuple(importlib.metadata.entry_points(group=group, name=name))
    if len(points) + (name in included) > 1:
        offered = [f"'{point.value}'" for point in points] + (["EdgeKD itself"] if name in included else [])
        raise MissingDependencyError(
            f"{where} {name}",
            expected=f"one {kind} of that name",
            found=f"{len(offered)}: {', '.join(offered)}",
            hint=f"Uninstall the other package, or have its {kind} renamed.",
        )
    if not points:
        return None
    try:
        return points[0].load()
    # Whatever a stranger's module raises when it is imported.
    except Exception as error:
        raise broken(group, name, where, kind, f"{type(error).__name__}: {error}") from error


def broken(group: str, name: str, where: str, kind: str, found: str) -> MissingDependencyError:
    """Return the error for an entry point that gives something else than what its group is for."""
    value = importlib.metadata.entry_points(group=group, name=name)[name].value
    return MissingDependencyError(
        f"{where} {name}",
        expected=f"a {kind} at '{value}'",
        found=found,
        hint=f"Repair or uninstall the package that offers it; the documentation says what a {kind} has.",
    )
