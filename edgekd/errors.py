"""Every error EdgeKD raises on purpose, with the exit code it ends the command with.

A message says where, what was expected, what was found, and what to do next, in that order.
Misuse of a Python function by a programmer stays `TypeError` or `ValueError`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar

EXIT_OK = 0
EXIT_BUG = 70


class EdgeKDError(Exception):
    """Root of every error raised on purpose.

    Args:
        where: The file, option or layer that is at fault.
        expected: What would have been right.
        found: What was there instead.
        hint: What to do next.
    """

    exit_code: ClassVar[int] = EXIT_BUG

    def __init__(self, where: str, *, expected: str, found: str, hint: str) -> None:
        self.where = where
        self.expected = expected
        self.found = found
        self.hint = hint
        super().__init__(f"{where}: expected {expected}, found {found}. {hint}")


class VerdictError(EdgeKDError):
    """It ran, and the answer is no."""

    exit_code = 1


class InfeasibleError(VerdictError):
    """No plan meets the budgets."""


class ParityError(VerdictError):
    """An artifact does not compute what the student computes."""


class BudgetError(VerdictError):
    """What was built exceeds a budget."""


class InputError(EdgeKDError):
    """A file or an argument is wrong."""

    exit_code = 2


class RecipeError(InputError):
    """A recipe, or a setting in it, is wrong."""


class TargetError(InputError):
    """A target file is wrong."""


class ProfileError(InputError):
    """A device profile is wrong."""


class ModelError(InputError):
    """A model file, or the network in it, cannot be used."""


class DataError(InputError):
    """A data set cannot be used."""


class ArtifactError(InputError):
    """An artifact or a run folder cannot be read."""


class OutputError(InputError):
    """A place to write to cannot be written."""


class UnsafeFileError(InputError):
    """Opening the file would run code that it carries."""


class UnknownNameError(InputError):
    """A name that is not known, with the nearest that is.

    Args:
        where: What kind of name it is, for instance `--target`.
        name: The name that was given.
        known: Every name that would have been accepted.
    """

    def __init__(self, where: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        suggestion = f"Did you mean '{near[0]}'? " if near else ""
        super().__init__(
            where,
            expected="a known name",
            found=f"'{name}'",
            hint=f"{suggestion}Known: {', '.join(names) or 'none'}.",
        )


class SetupError(EdgeKDError):
    """This machine cannot do it."""

    exit_code = 3


class MissingDependencyError(SetupError):
    """A library or program is missing; the hint gives the command that installs it."""


class DeviceError(SetupError):
    """A device to measure on cannot be reached, or cannot do what is asked of it."""


class StageError(EdgeKDError):
    """A stage failed half way."""

    exit_code = 4


class PruneError(StageError):
    """Channels could not be removed."""


class SearchError(StageError):
    """The search could not go on."""


class DistillError(StageError):
    """Training could not go on."""


class ExportError(StageError):
    """An artifact could not be written."""


class ConnectionLostError(StageError):
    """A device that was being measured is gone."""
