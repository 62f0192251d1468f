"""`edgekd.toml`: what a repository asks of its artifacts, found from the working directory upwards."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekd.checks.baseline import Tolerance
from edgekd.checks.limits import Limit
from edgekd.checks.quantities import QUANTITIES
from edgekd.errors import InputError, UnknownNameError
from edgekd.quantities import parse_share

FILE_NAME = "edgekd.toml"
_HINT = "The keys are in docs/check.md."
_BUDGETS = {about.key: name for name, about in QUANTITIES.items()}
_WORDS = {about.code: name for name, about in QUANTITIES.items() if name != "opset"}
_KEYS = (*_BUDGETS, "paths", "target", "baseline", "tolerance", "artifacts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What a file asks for; paths are relative to the folder it lies in, and have been resolved."""

    path: Path | None = None
    limits: tuple[Limit, ...] = ()
    paths: tuple[Path, ...] = ()
    target: str | None = None
    baseline: Path | None = None
    tolerances: Mapping[str, Tolerance] = field(default_factory=dict)


def find_config(folder: Path) -> Path | None:
    """Return the nearest `edgekd.toml`, from a folder upwards and no higher than the root of its repository."""
    for place in (folder, *folder.parents):
        if (place / FILE_NAME).is_file():
            return place / FILE_NAME
        if (place / ".git").exists():
            break
    return None


def read_config(path: Path) -> Config:
    """Return what the `[check]` table of a file asks for.

    Raises:
        InputError: The file is missing or no TOML, or a value cannot be used.
        UnknownNameError: A key is not known.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(str(path), expected="a TOML file", found=str(error), hint=_HINT) from error
    table = _table(content.get("check", {}), f"{path}, check")
    _refuse_unknown(table, f"{path}, check", _KEYS)
    limits = list(_limits(table, path.name, "check", None))
    for pattern, inner in _table(table.get("artifacts", {}), f"{path}, check.artifacts").items():
        where = f'check.artifacts."{pattern}"'
        inner_table = _table(inner, f"{path}, {where}")
        _refuse_unknown(inner_table, f"{path}, {where}", _BUDGETS)
        limits += _limits(inner_table, path.name, where, pattern)
    baseline = table.get("baseline")
    tolerances = _table(table.get("tolerance", {}), f"{path}, check.tolerance")
    return Config(
        path=path,
        limits=tuple(limits),
        paths=tuple(_matches(path.parent, table.get("paths", []), f"{path}, check.paths")),
        target=None if table.get("target") is None else _text(table["target"], f"{path}, check.target"),
        baseline=None if baseline is None else path.parent / _text(baseline, f"{path}, check.baseline"),
        tolerances=parse_tolerances(
            [f"{word}={_text(value, f'{path}, check.tolerance.{word}')}" for word, value in tolerances.items()],
            f"{path}, check.tolerance",
        ),
    )


def parse_tolerances(texts: Sequence[str], where: str) -> dict[str, Tolerance]:
    """Return tolerances by quantity from texts such as `latency=5%,100us`: a share of the baseline, and an amount.

    Raises:
        InputError: A text has another form.
        UnknownNameError: It names no quantity.
    """
    found = {}
    for text in texts:
        word, equals, values = text.partition("=")
        if equals and word.strip() not in _WORDS:
            raise UnknownNameError(where, word.strip(), _WORDS)
        relative, comma, absolute = values.partition(",")
        if not comma:
            raise InputError(
                where,
                expected="a quantity with a share and an amount",
                found=f"'{text[:40]}'",
                hint="Write it like latency=5%,100us; the value is worse only if it is worse by more than both.",
            )
        quantity = _WORDS[word.strip()]
        found[quantity] = Tolerance(
            relative=parse_share(relative, where), absolute=QUANTITIES[quantity].parse(absolute, where)
        )
    return found


def _limits(table: Mapping[str, Any], name: str, where: str, pattern: str | None) -> Iterator[Limit]:
    for key, quantity in _BUDGETS.items():
        if key in table:
            place = f"{name}, {where}.{key}"
            value = QUANTITIES[quantity].parse(_text(table[key], place), place)
            yield Limit(quantity=quantity, limit=value, origin=place, files=pattern)


def _matches(folder: Path, patterns: Any, where: str) -> Iterator[Path]:
    if not isinstance(patterns, list):
        raise InputError(where, expected="a list of patterns", found=repr(patterns), hint=_HINT)
    for pattern in patterns:
        text = _text(pattern, where)
        try:
            found = sorted(folder.glob(text))
        except (ValueError, NotImplementedError) as error:
            raise InputError(where, expected="a pattern inside the repository", found=str(error), hint=_HINT) from error
        # What matches nothing is a missing file, and is reported as one.
        yield from found or [folder / text]


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(where, expected="a table", found=repr(value), hint=_HINT)
    return value


def _text(value: Any, where: str) -> str:
    # Numbers without a unit are numbers in TOML.
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InputError(where, expected="a text or a number", found=repr(value), hint=_HINT)
    return str(value)


def _refuse_unknown(table: Mapping[str, Any], where: str, known: Sequence[str] | Mapping[str, str]) -> None:
    for name in table:
        if name not in known:
            raise UnknownNameError(where, name, known)
