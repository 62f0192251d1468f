"""The rows of a measured table as CSV, one operator a line."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgekd.errors import ProfileError
from edgekd.hardware.measured import Rows
from edgekd.hardware.operators import COLUMNS as SIZES
from edgekd.hardware.operators import OPS, VARIANTS, Operators

_WORDS = {"op": OPS, "variant": VARIANTS}
_KEY = (*_WORDS, *SIZES)
_TIMES = ("p50_us", "p90_us", "p99_us")
COLUMNS = (*_KEY, "count", *_TIMES)
_AGAIN = "Measure again with `edgekd profile ops`, or correct the line."


def rows_to_csv(rows: Rows) -> str:
    """Return the file's content."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    sizes = rows.operators.columns()
    for row, words in enumerate(zip(rows.operators.op, rows.operators.variant, strict=True)):
        times = (f"{values[row]:.3f}" for values in (rows.p50_us, rows.p90_us, rows.p99_us))
        writer.writerow((*words, *(int(sizes[name][row]) for name in SIZES), rows.count[row], *times))
    return stream.getvalue()


def rows_from_csv(path: Path, text: str) -> Rows:
    """Return the rows of a file's content.

    Raises:
        ProfileError: Columns, units or values are not as they must be; the message names the line.
    """
    reader = csv.reader(io.StringIO(text))
    header = tuple(next(reader, ()))
    if header != COLUMNS:
        raise ProfileError(
            f"{path}, line 1",
            expected=f"the columns {','.join(COLUMNS)} (times in microseconds)",
            found=_differences(header),
            hint=_AGAIN,
        )
    lines = [_line(f"{path}, line {number}", fields) for number, fields in enumerate(reader, start=2)]
    _require_distinct(path, lines)
    if not lines:
        raise ProfileError(str(path), expected="at least one operator", found="none", hint=_AGAIN)
    columns = list(zip(*lines, strict=True))
    numbers = {name: np.array(values) for name, values in zip(COLUMNS[2:], columns[2:], strict=True)}
    operators = Operators.from_columns(list(map(str, columns[0])), list(map(str, columns[1])), numbers)
    times = {name: numbers[name].astype(np.float64) for name in _TIMES}
    return Rows(operators=operators, count=tuple(int(count) for count in numbers["count"]), **times)


def _line(where: str, fields: list[str]) -> tuple[str | float, ...]:
    if len(fields) != len(COLUMNS):
        raise ProfileError(where, expected=f"{len(COLUMNS)} values", found=str(len(fields)), hint=_AGAIN)
    for (column, known), word in zip(_WORDS.items(), fields, strict=False):
        if word not in known:
            expected = f"one of {', '.join(filter(None, known))}"
            raise ProfileError(f"{where}, {column}", expected=expected, found=repr(word), hint=_AGAIN)
    values = [_number(where, *pair) for pair in zip(COLUMNS[2:], fields[2:], strict=True)]
    p50, p90, p99 = values[-3:]
    if not 0 < p50 <= p90 <= p99:
        raise ProfileError(
            where, expected="0 < p50_us <= p90_us <= p99_us", found=f"{p50:g}, {p90:g}, {p99:g}", hint=_AGAIN
        )
    return (*fields[:2], *values)


def _number(where: str, column: str, text: str) -> float:
    is_time = column in _TIMES
    try:
        value = float(text) if is_time else int(text)
    except ValueError:
        value = math.nan
    # Tensors that are stored have no pixels.
    least = 0 if column in ("in_pixels", "out_pixels") else 1
    if not (math.isfinite(value) and (value > 0 if is_time else value >= least)):
        expected = "microseconds above 0" if is_time else f"a whole number of at least {least}"
        raise ProfileError(f"{where}, {column}", expected=expected, found=repr(text), hint=_AGAIN)
    return value


def _require_distinct(path: Path, lines: list[tuple[str | float, ...]]) -> None:
    seen: dict[tuple[str | float, ...], int] = {}
    for number, line in enumerate(lines, start=2):
        key = line[: len(_KEY)]
        if key in seen:
            raise ProfileError(
                f"{path}, line {number}",
                expected="every operator once",
                found=f"the operator of line {seen[key]} again",
                hint=_AGAIN,
            )
        seen[key] = number


def _differences(header: tuple[str, ...]) -> str:
    return "; ".join(_compared(header)) or "the same in another order"


def _compared(header: tuple[str, ...]) -> Iterator[str]:
    missing = [name for name in COLUMNS if name not in header]
    unknown = [name for name in header if name not in COLUMNS]
    if missing:
        yield f"no {', '.join(missing)}"
    if unknown:
        yield f"unknown {', '.join(map(repr, unknown))}"
