"""What a recipe says of distillation: the terms of the loss, from TOML and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from edgekd.errors import RecipeError, UnknownNameError

OWN_LOSS = "task"
Option = float | int | str | bool
_HINT = "docs/distillation.md has examples."


@dataclass(frozen=True, slots=True)
class Choice:
    """Something by name, with options where it is not to have its defaults."""

    name: str
    options: tuple[tuple[str, Option], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One term of the training loss, a `[[distill]]` table of a recipe.

    Attributes:
        loss: A distillation loss, or `task` for the task's own.
        weight: By default `1 - soft_weight` for `task`, and `soft_weight` for any other.
        schedule: How the weight changes.
        temperature: By default the recipe's; for losses that soften.
        temperature_schedule: How the temperature changes.
        adapter: By default `1x1` for losses that need as many channels, and none for others.
        layers: `auto`, `outputs` (read as a feature), or pairs of a teacher's and a student's layer.
    """

    loss: Choice
    weight: float | None = None
    schedule: Choice = Choice("constant")
    temperature: float | None = None
    temperature_schedule: Choice = Choice("constant")
    adapter: Choice | None = None
    layers: str | tuple[tuple[str, str], ...] = "auto"

    def __post_init__(self) -> None:
        for name, value, least in (("weight", self.weight, 0.0), ("temperature", self.temperature, 0.1)):
            if value is not None and not least <= value < float("inf"):
                raise RecipeError(
                    f"recipe, distill '{self.loss.name}', {name}",
                    expected=f"a number of at least {least:g}",
                    found=str(value),
                    hint=_HINT,
                )


PLAIN = (Term(loss=Choice(OWN_LOSS)), Term(loss=Choice("soft-target")))


def weight_of(term: Term, soft_weight: float) -> float:
    """Return a term's weight; without one the task's own loss has what `soft_weight` leaves, and any other has that."""
    if term.weight is not None:
        return term.weight
    return 1.0 - soft_weight if term.loss.name == OWN_LOSS else soft_weight


def read_terms(where: str, tables: Any) -> tuple[Term, ...]:
    """Return the terms of `[[distill]]` tables as TOML gives them.

    Raises:
        RecipeError: There is no table, one has no loss, or a value has the wrong type.
        UnknownNameError: A table has a setting that is not known.
    """
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        found = "an empty list" if tables == [] else repr(tables)
        raise RecipeError(where, expected="one [[distill]] table or more", found=found, hint=_HINT)
    return tuple(_term(f"{where} {number}", table) for number, table in enumerate(tables, 1))


def terms_to_toml(terms: tuple[Term, ...]) -> str:
    """Return the terms as `[[distill]]` tables, without what is at its default."""
    return "".join(f"\n[[distill]]\n{''.join(_lines(term))}" for term in terms)


def terms_in_line(terms: tuple[Term, ...]) -> str:
    """Return the terms as a list of tables on one line."""
    tables = (", ".join(line.rstrip() for line in _lines(term)) for term in terms)
    return f"[{', '.join(f'{{ {table} }}' for table in tables)}]"


def _term(where: str, table: Mapping[str, Any]) -> Term:
    known = [field.name for field in fields(Term)]
    for name in table:
        if name not in known:
            raise UnknownNameError(f"{where}, setting", name, known)
    if "loss" not in table:
        raise RecipeError(where, expected='a loss, for instance loss = "hint"', found="none", hint=_HINT)
    return Term(**{name: _READ[name](f"{where}, {name}", value) for name, value in table.items()})


def _choice(where: str, value: Any) -> Choice:
    if isinstance(value, str):
        return Choice(value)
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        options = {name: option for name, option in value.items() if name != "name"}
        if all(isinstance(option, Option) for option in options.values()):
            return Choice(value["name"], tuple(options.items()))
    raise RecipeError(
        where, expected='a name, or a table like { name = "linear", end = 0.2 }', found=repr(value), hint=_HINT
    )


def _number(where: str, value: Any) -> float:
    if type(value) in (int, float):
        return float(value)
    raise RecipeError(where, expected="a number", found=repr(value), hint=_HINT)


def _layers(where: str, value: Any) -> str | tuple[tuple[str, str], ...]:
    if value in ("auto", "outputs"):
        return str(value)
    if isinstance(value, list) and value and all(_is_pair(pair) for pair in value):
        return tuple((pair[0], pair[1]) for pair in value)
    expected = '"auto", "outputs", or pairs of names [["teacher layer", "student layer"]]'
    raise RecipeError(where, expected=expected, found=repr(value), hint=_HINT)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(name, str) for name in value)


_READ: dict[str, Callable[[str, Any], Any]] = {
    "loss": _choice,
    "weight": _number,
    "schedule": _choice,
    "temperature": _number,
    "temperature_schedule": _choice,
    "adapter": _choice,
    "layers": _layers,
}


def _lines(term: Term) -> list[str]:
    lines = []
    for field in fields(Term):
        value = getattr(term, field.name)
        if field.name == "loss" or value != field.default:
            lines.append(f"{field.name} = {_toml(value)}\n")
    return lines


def _toml(value: Any) -> str:
    if not isinstance(value, Choice):
        return json.dumps(value)
    if not value.options:
        return json.dumps(value.name)
    entries = (("name", value.name), *value.options)
    return f"{{ {', '.join(f'{name} = {json.dumps(entry)}' for name, entry in entries)} }}"
