"""Making a loss, schedule or adapter from the options a recipe gives it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from edgekd.errors import RecipeError, UnknownNameError

_Made = TypeVar("_Made")


def construct(kind: type[_Made], options: Mapping[str, Any], where: str) -> _Made:
    """Return an instance; the constructor's keyword arguments are its options, and it refuses values by `ValueError`.

    Raises:
        UnknownNameError: There is no such option.
        RecipeError: A value has the wrong type or range.
    """
    known = option_defaults(kind)
    values: dict[str, Any] = {}
    for name, value in options.items():
        if name not in known:
            raise UnknownNameError(f"{where}, option", name, known)
        values[name] = _converted(value, known[name], f"{where}, {name}")
    try:
        return kind(**values)
    except ValueError as error:
        given = ", ".join(f"{name} = {value!r}" for name, value in options.items())
        raise RecipeError(
            where, expected=str(error), found=given or "the defaults", hint="docs/distillation.md has the options."
        ) from error


def option_defaults(kind: type[Any]) -> dict[str, Any]:
    """Return the options of a class with their defaults."""
    return {p.name: p.default for p in inspect.signature(kind).parameters.values() if p.kind is p.KEYWORD_ONLY}


def _converted(value: Any, default: Any, where: str) -> Any:
    wanted = type(default)
    if wanted is float and type(value) is int:
        return float(value)
    if type(value) is not wanted or (wanted is float and not math.isfinite(value)):
        raise RecipeError(
            where,
            expected=f"a value like {default!r}",
            found=repr(value),
            hint="docs/distillation.md has the options.",
        )
    return value
