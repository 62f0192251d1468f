"""Quantities as people write them: read from options and recipes, printed in reports.

Inside EdgeKD a size is in bytes, a latency in microseconds, an energy in microjoules, a time budget in
seconds and an accuracy a share in [0, 1]. This module is the only place where other units, or percentages,
come in or go out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType

from edgekd.errors import InputError
from edgekd.records import Metric

# At most 15 digits before the point: beyond that a float would no longer hold the number that was written.
_NUMBER_AND_UNIT = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,15})?|\.[0-9]{1,15})\s*([A-Za-z\u00b5\u03bc]*)\s*")
_LONGEST_QUOTE = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """How one kind of quantity is written: its units in base units, and an example that is valid."""

    noun: str
    units: Mapping[str, int]
    example: str
    unit_when_missing: str | None = None


_SIZE = _Kind(
    noun="size",
    units=MappingProxyType(
        {
            "B": 1,
            "KB": 1000,
            "MB": 1000**2,
            "GB": 1000**3,
            "KiB": 1024,
            "MiB": 1024**2,
            "GiB": 1024**3,
        }
    ),
    example="250KB",
    unit_when_missing="B",
)
_LATENCY = _Kind(noun="time", units=MappingProxyType({"us": 1, "ms": 1000, "s": 1000**2}), example="3ms")
_ENERGY = _Kind(noun="energy", units=MappingProxyType({"uJ": 1, "mJ": 1000, "J": 1000**2}), example="10mJ")
_DURATION = _Kind(noun="duration", units=MappingProxyType({"s": 1, "m": 60, "h": 3600}), example="20m")


def parse_size(text: str, where: str = "size") -> int:
    """Return a size in whole bytes; a number without a unit is in bytes.

    Letter case does not matter here (`250kb` is `250KB`). Part of a byte is dropped, which changes no
    comparison of a whole number of bytes with an upper bound.

    Args:
        text: For instance `250KB`, `1.5 MiB` or `4096`.
        where: The option or recipe key the text came from, for the message.

    Raises:
        InputError: The text is not a size of at least one byte.
    """
    number, unit = _split(text, _SIZE, where)
    unit_bytes = {name.lower(): value for name, value in _SIZE.units.items()}.get(unit.lower())
    if unit_bytes is None or number * unit_bytes < 1:
        raise _refusal(text, _SIZE, where)
    return int(number * unit_bytes)


def parse_latency_us(text: str, where: str = "latency") -> float:
    """Return a time in microseconds, from for instance `3ms` or `850us`.

    Raises:
        InputError: The text is not a time above zero with its unit.
    """
    return _parse(text, _LATENCY, where)


def parse_energy_uj(text: str, where: str = "energy") -> float:
    """Return an energy in microjoules, from for instance `10mJ`; letter case matters, since `MJ` is not `mJ`.

    Raises:
        InputError: The text is not an energy above zero with its unit.
    """
    return _parse(text, _ENERGY, where)


def parse_duration_s(text: str, where: str = "duration") -> float:
    """Return a time budget in seconds, from for instance `90s`, `20m` or `1.5h`.

    Raises:
        InputError: The text is not a duration above zero with its unit.
    """
    return _parse(text, _DURATION, where)


def parse_share(text: str, where: str = "share") -> float:
    """Return a share in [0, 1] from for instance `0.92`, `92%` or `91.5 %`.

    Raises:
        InputError: The text is no share.
    """
    match = re.fullmatch(r"\s*([0-9]{1,3}(?:\.[0-9]{1,15})?)\s*(%?)\s*", text)
    share = None if match is None else Decimal(match[1]) / (100 if match[2] else 1)
    if share is None or share > 1:
        raise InputError(
            where,
            expected="a share from 0 to 1, or a percentage",
            found=repr(text[:_LONGEST_QUOTE]),
            hint="Write it like 0.92 or 92%.",
        )
    return float(share)


def format_size(size_bytes: float) -> str:
    """Return a size to three significant digits in decimal units, for instance `216 KB`."""
    return _scaled(size_bytes, ("B", "KB", "MB", "GB"))


def format_latency_us(latency_us: float) -> str:
    """Return a latency to three significant digits, for instance `2.41 ms`."""
    return _scaled(latency_us, ("us", "ms", "s"))


def format_energy_uj(energy_uj: float) -> str:
    """Return an energy to three significant digits, for instance `8.1 mJ`."""
    return _scaled(energy_uj, ("uJ", "mJ", "J"))


def format_count(count: int) -> str:
    """Return a number of MACs or parameters to three significant digits, for instance `40.8 M`."""
    return _scaled(count, ("", "k", "M", "G", "T"))


def format_duration_s(seconds: float) -> str:
    """Return how long something took, for instance `4.2 s`, `3 min 20 s` or `1 h 05 min`."""
    if seconds < 59.95:  # what would be printed as 60.0 s belongs to the next branch
        return f"{seconds:.1f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest_s:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def format_share(share: float) -> str:
    """Return a share as a percentage with two decimals, for instance `91.32 %`.

    Only 1 itself is printed as `100.00 %` and only 0 as `0.00 %`, so that "almost all" never reads as "all".
    """
    return f"{_percent(share)} %"


def format_share_difference(after: float, before: float) -> str:
    """Return the difference of two shares in percentage points, for instance `-0.21 points`.

    It is the difference of the two percentages as `format_share` prints them, so a reader can redo the sum.
    """
    return f"{_percent(after) - _percent(before):+.2f} points"


def format_metric_value(value: float, unit: str) -> str:
    """Return a metric's value: a share in percent, a number to four significant digits."""
    return format_share(value) if unit == "share" else f"{_four_digits(value)}"


def format_metric_difference(after: float, before: float, unit: str) -> str:
    """Return the difference of two metric values; of numbers, it is that of what `format_metric_value` prints."""
    if unit == "share":
        return format_share_difference(after, before)
    return f"{_four_digits(after) - _four_digits(before):+f}"


def format_standard_error(metric: Metric) -> str:
    """Return for instance ` ± 1.12` after a share in percent; nothing where the error is not known."""
    if metric.standard_error is None:
        return ""
    error = metric.standard_error
    return f" ± {100 * error:.2f}" if metric.unit == "share" else f" ± {_significant(error)}"


def describe_metric(metric: Metric) -> str:
    """Return a metric in words, for instance `91.32 % of 300 validation images`."""
    value = format_metric_value(metric.value, metric.unit)
    if metric.name == "accuracy":
        return f"{value} of {metric.samples:,} {metric.split} images"
    return f"{metric.name} {value} on {metric.samples:,} {metric.split} samples"


def metric_title(metric: Metric) -> str:
    """Return a metric's name for a heading, with its direction where lower is better."""
    name = metric.name[0].upper() + metric.name[1:]
    return name if metric.higher_is_better else f"{name} (lower is better)"


def format_ratio(part: float, whole: float) -> str | None:
    """Return how many times smaller or larger, for instance `0.25x`; `None` where the whole is zero."""
    return f"{_significant(part / whole)}x" if whole else None


def _four_digits(value: float) -> Decimal:
    return Decimal(f"{Decimal(f'{value:.3e}'):f}")


def _percent(share: float) -> Decimal:
    percent = Decimal(f"{share * 100:.2f}")
    if 0 < share < 1:
        return min(max(percent, Decimal("0.01")), Decimal("99.99"))
    return percent


def _parse(text: str, kind: _Kind, where: str) -> float:
    number, unit = _split(text, kind, where)
    if unit not in kind.units or number == 0:
        raise _refusal(text, kind, where)
    return float(number * kind.units[unit])


def _split(text: str, kind: _Kind, where: str) -> tuple[Decimal, str]:
    match = _NUMBER_AND_UNIT.fullmatch(text)
    if match is None:
        raise _refusal(text, kind, where)
    unit = match[2] or kind.unit_when_missing
    if unit is None:
        raise _refusal(text, kind, where)
    # Both characters that look like a micro sign are written by keyboards.
    return Decimal(match[1]), unit.replace("\u00b5", "u").replace("\u03bc", "u")


def _refusal(text: str, kind: _Kind, where: str) -> InputError:
    quoted = text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "..."
    return InputError(
        where,
        expected=f"{'an' if kind.noun[0] in 'aeiou' else 'a'} {kind.noun} above zero with its unit",
        found=repr(quoted),
        hint=f"Write it like {kind.example}. Units: {', '.join(kind.units)}.",
    )


def _scaled(value: float, units: tuple[str, ...]) -> str:
    """Return the value in the largest unit in which it prints as at least 1."""
    index = 0
    while index + 1 < len(units) and float(_significant(abs(value))) >= 1000:
        value /= 1000
        index += 1
    return f"{_significant(value)} {units[index]}".rstrip()


def _significant(value: float) -> str:
    """Return three significant digits without an exponent and without zeros that carry nothing."""
    if value == 0:
        return "0"
    rounded = Decimal(f"{value:.2e}")
    text = f"{rounded:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
