"""What budgets bound: every quantity with its words, its option, and how it is read and printed.

This is the one table of them. A quantity is named as the field of a report's row that holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from edgekd.quantities import (
    format_energy_uj,
    format_latency_us,
    format_size,
    parse_energy_uj,
    parse_latency_us,
    parse_size,
)
from edgekd.records import Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounded:
    """A quantity that a budget can bound.

    Attributes:
        word: What codes of findings call it, as in `size-over-budget`.
        noun: What sentences call it.
        title: What tables call it.
        option: The command line's option for the budget.
        unit: The base unit, as the option takes it.
        parse: From the option's text and name to the base unit.
        format: From the base unit to three significant digits.
        is_predicted: Whether it is foretold of an artifact; otherwise it is measured on the file.
    """

    word: str
    noun: str
    title: str
    option: str
    unit: Literal["B", "us", "uJ"]
    parse: Callable[[str, str], float]
    format: Callable[[float], str]
    is_predicted: bool = True

    @property
    def parameter(self) -> str:
        """The name under which a command gets the option's value."""
        return self.option.removeprefix("--").replace("-", "_")


BOUNDED: Mapping[Quantity, Bounded] = MappingProxyType(
    {
        "size_bytes": Bounded(
            word="size",
            noun="size",
            title="File size",
            option="--max-size",
            unit="B",
            parse=parse_size,
            format=format_size,
            is_predicted=False,
        ),
        "latency_us": Bounded(
            word="latency",
            noun="latency",
            title="Latency",
            option="--max-latency",
            unit="us",
            parse=parse_latency_us,
            format=format_latency_us,
        ),
        "energy_uj": Bounded(
            word="energy",
            noun="energy",
            title="Energy",
            option="--max-energy",
            unit="uJ",
            parse=parse_energy_uj,
            format=format_energy_uj,
        ),
        "memory_bytes": Bounded(
            word="memory",
            noun="peak activation memory",
            title="Peak activation memory",
            option="--max-memory",
            unit="B",
            parse=parse_size,
            format=format_size,
        ),
    }
)


def format_quantity(quantity: Quantity, value: float) -> str:
    """Return a quantity for reading; bytes also in full, since one of them may exceed a budget."""
    kind = BOUNDED[quantity]
    return f"{kind.format(value)} ({value:,.0f} bytes)" if kind.unit == "B" else kind.format(value)
