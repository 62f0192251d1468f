"""What tables of a report are made of, and what several of them say of a metric.

Nothing is escaped here; that belongs to the format.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgekd.quantities import format_metric_difference, format_metric_value, format_standard_error, metric_title
from edgekd.records import Metric, Report

NOT_KNOWN = "not known"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell of a table: the main text, and what stands small below it.

    `status` is for colour only; the text says the same. `share` in [0, 1] draws a bar where bars can be
    drawn.
    """

    text: str
    detail: str = ""
    status: str = ""
    share: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A titled table with the notes below it. An empty table says so in `empty`.

    One that `is_folded` is long: the page shows it when it is unfolded, Markdown leaves it out.
    """

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    empty: str
    notes: tuple[str, ...] = ()
    is_folded: bool = False


def metric_of(report: Report) -> str:
    """Return the name of what the report's table shows of every file, with its direction if lower is better."""
    found = [item.accuracy or item.trained_accuracy for item in report.rows] + [it.accuracy for it in report.stages]
    return next((metric_title(metric) for metric in found if metric is not None), "Accuracy")


def metric_cell(metric: Metric | None) -> Cell:
    """Return a measurement with its error, samples and split."""
    if metric is None:
        return Cell(text=NOT_KNOWN)
    error = format_standard_error(metric).strip()
    unit = " %" if metric.unit == "share" else ""
    told = [f"{error}{unit}"] if error else []
    return Cell(
        text=format_metric_value(metric.value, metric.unit),
        detail=", ".join([*told, f"n = {metric.samples:,}", metric.split]),
    )


def metric_difference(after: Metric | None, before: Metric | None) -> str:
    """Return the difference of two measurements; on different splits it would mean nothing."""
    if after is None or before is None or (after.split, after.name) != (before.split, before.name):
        return NOT_KNOWN
    return format_metric_difference(after.value, before.value, after.unit)
