"""The report's table for a terminal: short, aligned, verdict last, where the eye is."""

from __future__ import annotations

from collections.abc import Callable

from edgekd.quantities import (
    format_count,
    format_energy_uj,
    format_latency_us,
    format_metric_value,
    format_size,
    format_standard_error,
)
from edgekd.records import Prediction, Report, Row
from edgekd.report.artifacts import EXTRAPOLATED, MEMORY
from edgekd.report.cells import NOT_KNOWN, metric_of
from edgekd.report.escape import printable

_HEADERS = (
    *("artifact", "file", "MACs", "parameters", "{metric} (test)"),
    *("predicted latency", "energy", "memory", "parity"),
)


def render_text(report: Report) -> str:
    """Return the table of a report with its verdict, for a terminal."""
    name = metric_of(report)
    name = "accuracy" if name == "Accuracy" else name
    table = [tuple(header.format(metric=name) for header in _HEADERS), *(_cells(row) for row in report.rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(_HEADERS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
    predictions = [item for row in report.rows for item in (row.latency_us, row.energy_uj) if item is not None]
    if predictions:
        lines.append("Latency and energy are predicted, with 80 % intervals; the report names their sources.")
    if any(row.memory_bytes is not None for row in report.rows):
        lines.append(f"Memory: {MEMORY}")
    if any(item.extrapolated for item in predictions):
        lines.append(f"† {EXTRAPOLATED}")
    lines += [f"error: {printable(f'{it.subject}: {it.message}')}" for it in report.findings if it.level == "error"]
    lines.append(f"{report.verdict.upper()}: {printable(report.title)}, plan {report.plan_id}")
    return "\n".join(lines)


def _cells(row: Row) -> tuple[str, ...]:
    accuracy = NOT_KNOWN
    if row.accuracy is not None:
        accuracy = format_metric_value(row.accuracy.value, row.accuracy.unit) + format_standard_error(row.accuracy)
    parity = "not checked" if row.parity is None else ("passed" if row.parity.passed else "FAILED")
    return (
        printable(row.name),
        format_size(row.size_bytes),
        format_count(row.macs),
        format_count(row.parameters),
        accuracy,
        _predicted(row.latency_us, format_latency_us),
        _predicted(row.energy_uj, format_energy_uj),
        NOT_KNOWN if row.memory_bytes is None else format_size(row.memory_bytes),
        parity,
    )


def _predicted(item: Prediction | None, formatted: Callable[[float], str]) -> str:
    if item is None:
        return NOT_KNOWN
    mark = " †" if item.extrapolated else ""
    return f"{formatted(item.value)} ({formatted(item.low)} to {formatted(item.high)}){mark}"
