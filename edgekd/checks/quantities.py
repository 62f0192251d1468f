"""What can be bounded: how it is written in options and files, shown, and known from a report."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from edgekd.budgets import BOUNDED, format_quantity
from edgekd.errors import InputError
from edgekd.quantities import format_count, format_share, parse_share
from edgekd.records import Metric, Prediction, Row
from edgekd.records import Quantity as Budgeted


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of one quantity of an artifact.

    `how` says where it comes from, as "predicted (fitted)"; nothing of what stands in the file itself. `low` and `high`
    are the spread of a measurement, within which a bound is neither kept nor broken. `source` tells predictions apart
    that must not be compared with each other.
    """

    value: float
    how: str = ""
    low: float | None = None
    high: float | None = None
    is_extrapolated: bool = False
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """Something that can be bounded: its word in messages, its key in files, its option, how it is read and written.

    `of_row` is what a report knows of it; `noise` is the share and the amount by which it may be worse than a baseline.
    """

    word: str
    key: str
    metavar: str
    text: str
    parse: Callable[[str, str], float]
    show: Callable[[float], str]
    of_row: Callable[[Row], Known | None]
    lower_is_better: bool = True
    advice: str = "Compress further, or raise the budget."
    noise: tuple[float, float] = (0.01, 0.0)

    @property
    def option(self) -> str:
        """The option that sets it."""
        return f"--{self.key.replace('_', '-')}"

    @property
    def code(self) -> str:
        """How the codes of findings about it begin: its key without what kind of bound it is."""
        return self.key.partition("_")[2]


def parse_count(text: str, where: str) -> float:
    """Return a number of parameters or MACs from for instance `850k`, `1.2M` or `40000`.

    Raises:
        InputError: The text is not a count above zero.
    """
    found = re.fullmatch(r"\s*([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([kMGT]?)\s*", text)
    value = float(found[1]) * 1000.0 ** " kMGT".index(found[2] or " ") if found else 0.0
    if value < 1:
        raise InputError(
            where, expected="a count above zero", found=f"'{text[:40]}'", hint="Write it like 850k. Units: k, M, G, T."
        )
    return value


def parse_opset(text: str, where: str) -> float:
    """Return the number of an operator set.

    Raises:
        InputError: The text is no whole number from 1 to 999.
    """
    if not re.fullmatch(r"[1-9][0-9]{0,2}", text):
        raise InputError(where, expected="an operator set", found=f"'{text[:40]}'", hint="Write it like 17.")
    return int(text)


def _show_count(count: float) -> str:
    return format_count(round(count))


def _predicted(prediction: Prediction | None) -> Known | None:
    if prediction is None:
        return None
    return Known(
        value=prediction.value,
        how=f"predicted ({prediction.origin})",
        is_extrapolated=prediction.extrapolated,
        source=prediction.source,
    )


def _accuracy(metric: Metric | None) -> Known | None:
    # A metric that is better when it is lower, or is no share, is no accuracy.
    if metric is None or metric.unit != "share" or not metric.higher_is_better:
        return None
    return Known(value=metric.value, how=f"measured ({metric.name}, n = {metric.samples:,})", source=metric.name)


def _memory(peak_bytes: int | None) -> Known | None:
    return None if peak_bytes is None else Known(value=peak_bytes, how="predicted")


def _budgeted(
    quantity: Budgeted, *, metavar: str, text: str, of_row: Callable[[Row], Known | None], noise: tuple[float, float]
) -> Quantity:
    """Return what compression has budgets on too, in the same words."""
    kind = BOUNDED[quantity]
    return Quantity(
        word=kind.noun,
        key=kind.parameter,
        metavar=metavar,
        text=text,
        parse=kind.parse,
        show=partial(format_quantity, quantity),
        of_row=of_row,
        noise=noise,
    )


QUANTITIES: Mapping[str, Quantity] = MappingProxyType(
    {
        "size_bytes": _budgeted(
            "size_bytes",
            metavar="SIZE",
            text="Most bytes a file may have: B, KB, MB, KiB, MiB.",
            of_row=lambda row: Known(value=row.size_bytes),
            noise=(0.01, 1000.0),
        ),
        "parameters": Quantity(
            word="parameters",
            key="max_parameters",
            metavar="COUNT",
            text="Most parameters: 850k, 1.2M.",
            parse=parse_count,
            show=_show_count,
            of_row=lambda row: Known(value=row.parameters),
        ),
        "macs": Quantity(
            word="MACs",
            key="max_macs",
            metavar="COUNT",
            text="Most multiply-accumulates of an inference: 40M, 1.2G.",
            parse=parse_count,
            show=_show_count,
            of_row=lambda row: Known(value=row.macs),
        ),
        "latency_us": _budgeted(
            "latency_us",
            metavar="TIME",
            text="Longest latency, predicted or, with --measure, measured: us, ms, s.",
            of_row=lambda row: _predicted(row.latency_us),
            noise=(0.05, 50.0),
        ),
        "energy_uj": _budgeted(
            "energy_uj",
            metavar="ENERGY",
            text="Most predicted energy of an inference: uJ, mJ, J.",
            of_row=lambda row: _predicted(row.energy_uj),
            noise=(0.05, 50.0),
        ),
        "memory_bytes": _budgeted(
            "memory_bytes",
            metavar="SIZE",
            text="Most predicted bytes of activations at once: B, KB, MB, KiB, MiB.",
            of_row=lambda row: _memory(row.memory_bytes),
            noise=(0.01, 1000.0),
        ),
        "accuracy": Quantity(
            word="accuracy",
            key="min_accuracy",
            metavar="SHARE",
            text="Least accuracy of the file on test data: 0.92 or 92%.",
            parse=parse_share,
            show=format_share,
            of_row=lambda row: _accuracy(row.accuracy),
            lower_is_better=False,
            advice="Train longer or compress less, or lower the bound.",
            noise=(0.005, 0.005),
        ),
        "opset": Quantity(
            word="opset",
            key="max_opset",
            metavar="NUMBER",
            text="Newest operator set a file may need.",
            parse=parse_opset,
            show=lambda value: f"{value:.0f}",
            of_row=lambda _: None,
            advice="Export with an older operator set.",
        ),
    }
)
