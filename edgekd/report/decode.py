"""Records from JSON: the way back of `dataclasses.asdict`, refusing everything that does not fit.

Works from the annotations of the records themselves, so that a field added there is read and checked here
without a second list of fields. What a record means beyond its types (a share lies in [0, 1]) is in
`_MEANINGS`.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from edgekd.errors import ArtifactError
from edgekd.records import (
    Artifact,
    Budget,
    Deployment,
    Metric,
    OperatorCost,
    Parity,
    Prediction,
    Report,
    Row,
    StageResult,
)

_Record = TypeVar("_Record")
_LARGEST_COUNT = 2**63 - 1  # what a file size can be; arithmetic with more than that could overflow
_NAMES: Mapping[type, str] = MappingProxyType(
    {str: "a text", int: "a whole number", float: "a finite number", bool: "true or false", NoneType: "null"}
)


def read_object(text: str, where: str, hint: str) -> dict[str, Any]:
    """Return the JSON object in a text.

    Args:
        text: The contents of a file.
        where: That file, for the message.
        hint: What to do when it cannot be read.

    Raises:
        ArtifactError: It is not JSON, not an object, names a field twice or holds a number that is not
            finite.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(where, expected="JSON", found=_quote(str(error)), hint=hint) from error
    if not isinstance(value, dict):
        raise ArtifactError(where, expected="a JSON object", found=_describe(value), hint=hint)
    return value


def decode(record: type[_Record], value: object, where: str, hint: str) -> _Record:
    """Return the record that `dataclasses.asdict` and JSON turned into `value`.

    Every field has to be there, also those with a default: `asdict` writes them all, and a missing one would
    otherwise be read as "no" where it should be read as "not known".

    Raises:
        ArtifactError: A field is missing, unknown, of the wrong type or impossible. The message names the
            place.
    """
    decoded: _Record = _decode(record, value, where, hint)
    return decoded


def field_names(record: type) -> frozenset[str]:
    """Return the names of a record's fields."""
    return frozenset(field.name for field in dataclasses.fields(record))


def _decode(kind: Any, value: object, place: str, hint: str) -> Any:
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _decode_record(kind, value, place, hint)
    origin = get_origin(kind)
    if origin is tuple:
        return _decode_tuple(get_args(kind), value, place, hint)
    if origin in (Union, UnionType):
        inner = next(option for option in get_args(kind) if option is not NoneType)
        return None if value is None else _decode(inner, value, place, hint)
    if origin is Literal:
        options = get_args(kind)
        if not any(type(value) is type(option) and value == option for option in options):
            expected = "one of " + ", ".join(repr(option) for option in options)
            raise ArtifactError(place, expected=expected, found=_describe(value), hint=hint)
        return value
    if not _is_plain(kind, value):
        raise ArtifactError(place, expected=_NAMES[kind], found=_describe(value), hint=hint)
    return value


def _decode_record(kind: type, value: object, place: str, hint: str) -> object:
    if not isinstance(value, dict):
        raise ArtifactError(place, expected="an object", found=_describe(value), hint=hint)
    types = get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    for name in names:
        if name not in value and name not in _ADDED.get(kind, ()):
            raise ArtifactError(place, expected=f"the field '{name}'", found="none", hint=hint)
    for name in value:
        if name not in names:
            expected = f"only the fields {', '.join(names)}"
            raise ArtifactError(place, expected=expected, found=f"also {_quote(repr(name))}", hint=hint)
    fields = {name: _decode(types[name], value[name], f"{place}, {name}", hint) for name in names if name in value}
    record = kind(**fields)
    if kind in _MEANINGS:
        expected, find_odd = _MEANINGS[kind]
        odd = find_odd(record)
        if odd is not None:
            raise ArtifactError(place, expected=expected, found=odd, hint=hint)
    return record


def _decode_tuple(kinds: tuple[Any, ...], value: object, place: str, hint: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ArtifactError(place, expected="a list", found=_describe(value), hint=hint)
    if kinds[1:] == (...,):
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        raise ArtifactError(place, expected=f"{len(kinds)} entries", found=str(len(value)), hint=hint)
    entries = enumerate(zip(kinds, value, strict=True))
    return tuple(_decode(kind, entry, f"{place}[{index}]", hint) for index, (kind, entry) in entries)


def _is_plain(kind: type, value: object) -> bool:
    # In Python a bool is an int; in a file `true` is not a number. A whole number is kept as it is where a
    # float is meant, so that writing it again gives the same bytes.
    if isinstance(value, int) and abs(value) > _LARGEST_COUNT:
        return False
    if kind is float:
        return type(value) is int or (type(value) is float and math.isfinite(value))
    return type(value) is kind


def _odd_metric(it: Metric) -> str | None:
    is_odd = it.samples <= 0 or (it.unit == "share" and not 0 <= it.value <= 1)
    return f"{it.value} of {it.samples}" if is_odd or (it.standard_error or 0) < 0 else None


def _odd_share(share: float, samples: int) -> str | None:
    return None if 0 <= share <= 1 and samples > 0 else f"{share} of {samples}"


def _odd_prediction(it: Prediction) -> str | None:
    return None if 0 <= it.low <= it.value <= it.high else f"{it.low}, {it.value}, {it.high}"


def _negative(*counts: float | None) -> str | None:
    return next((str(count) for count in counts if count is not None and count < 0), None)


def _odd_width(report: Report) -> str | None:
    odd = (name for name, before, after in report.widths if before < 1 or not 0 <= after <= before)
    return next((_quote(repr(name)) for name in odd), None)


# What records have had since report schema 2 (rows and reports: 3), and cards, without a version of their own, since
# then: a file from before means the default.
_ADDED: Mapping[type, frozenset[str]] = MappingProxyType(
    {
        Metric: frozenset({"name", "higher_is_better", "unit", "standard_error"}),
        Parity: frozenset({"measure", "metric", "metric_unit"}),
        Artifact: frozenset({"task", "inputs"}),
        Row: frozenset({"memory_bytes"}),
        Report: frozenset({"deployment"}),
    }
)

# What each record means beyond the types of its fields: what is expected, and a function that returns what is
# odd about a record, or `None`.
_MEANINGS: Mapping[type, tuple[str, Callable[[Any], str | None]]] = MappingProxyType(
    {
        Metric: ("a share in [0, 1] of some samples", _odd_metric),
        Parity: (
            "a share in [0, 1] of some samples",
            lambda it: _odd_share(it.equal_predictions, it.samples),
        ),
        Prediction: ("0 <= low <= value <= high", _odd_prediction),
        Budget: ("a limit above zero", lambda it: None if it.limit > 0 else str(it.limit)),
        Row: ("counts of at least zero", lambda it: _negative(it.size_bytes, it.memory_bytes, it.macs, it.parameters)),
        StageResult: ("counts of at least zero", lambda it: _negative(it.seconds, it.macs, it.parameters)),
        Artifact: ("a size of at least zero", lambda it: _negative(it.size_bytes)),
        OperatorCost: (
            "times and energies of at least zero",
            lambda it: _negative(*it.latency_us, *(it.energy_uj or ())),
        ),
        Deployment: ("a count and a time of at least zero", lambda it: _negative(it.launches, it.launch_floor_us)),
        Report: ("at most as many channels after pruning as before", _odd_width),
    }
)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field that is named twice")
    return found


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name}, which is not a number")


def _describe(value: object) -> str:
    return "null" if value is None else _quote(repr(value))


def _quote(text: str) -> str:
    return text if len(text) <= 80 else text[:80] + "..."
