"""The table of artifacts: what was measured on every file, and what is predicted of it."""

from __future__ import annotations

from edgekd.budgets import format_quantity
from edgekd.quantities import format_count, format_ratio, format_share, format_size
from edgekd.records import Parity, Prediction, Quantity, Report, Row
from edgekd.report.cells import NOT_KNOWN, Cell, Section, metric_cell, metric_difference, metric_of

EXTRAPOLATED = "outside the range of networks the prediction was fitted on: a ranking aid, not a promise"
MEMORY = "what the values between layers take at once for one example, without weights and what the runtime adds"
_EXTRAPOLATED_MARK = "\u2020"


def artifact_table(report: Report) -> Section:
    """Return a line for every artifact, beside the original."""
    original = next((row for row in report.rows if is_original(row)), None)
    name = metric_of(report)
    predictions = [item for row in report.rows for item in (row.latency_us, row.energy_uj) if item]
    sources = tuple(dict.fromkeys((item.origin, item.source) for item in predictions))
    notes = [f"({number}) {origin}: {source}" for number, (origin, source) in enumerate(sources, start=1)]
    if any(item.extrapolated for item in predictions):
        notes.append(f"{_EXTRAPOLATED_MARK} {EXTRAPOLATED}")
    if any(row.memory_bytes is not None for row in report.rows):
        notes.append(f"Peak activation memory: {MEMORY}.")
    return Section(
        title="Artifacts",
        headers=(
            "Artifact",
            "File size",
            "Size / original",
            "MACs",
            "MACs / original",
            "Parameters",
            f"{name} of the file",
            f"{name} as trained",
            "File minus trained",
            "Predicted latency (80 % interval)",
            "Predicted energy (80 % interval)",
            "Predicted peak activation memory",
            "Parity with the student",
        ),
        rows=tuple(_artifact_row(row, original, sources) for row in report.rows),
        empty="No artifact was made.",
        notes=tuple(notes),
    )


def is_original(row: Row) -> bool:
    """Return whether the row is the network as it came: its name is `original`, or starts with that word."""
    return row.name.split()[:1] == ["original"]


def _artifact_row(row: Row, original: Row | None, sources: tuple[tuple[str, str], ...]) -> tuple[Cell, ...]:
    both = row.accuracy is not None and row.trained_accuracy is not None
    return (
        Cell(text=row.name, detail=", ".join(filter(None, (row.precision, row.processor, row.path)))),
        Cell(text=format_size(row.size_bytes), detail=f"{row.size_bytes:,} bytes"),
        _ratio(row.size_bytes, original.size_bytes if original else None),
        Cell(text=format_count(row.macs)),
        _ratio(row.macs, original.macs if original else None),
        Cell(text=format_count(row.parameters)),
        metric_cell(row.accuracy),
        metric_cell(row.trained_accuracy),
        Cell(text=metric_difference(row.accuracy, row.trained_accuracy) if both else NOT_KNOWN),
        _prediction(row.latency_us, "latency_us", sources),
        _prediction(row.energy_uj, "energy_uj", sources),
        _memory(row.memory_bytes),
        _parity(row.parity),
    )


def _ratio(part: int, whole: int | None) -> Cell:
    return Cell(text=(None if whole is None else format_ratio(part, whole)) or NOT_KNOWN)


def _memory(memory_bytes: int | None) -> Cell:
    if memory_bytes is None:
        return Cell(text=NOT_KNOWN)
    return Cell(text=format_size(memory_bytes), detail=f"{memory_bytes:,} bytes")


def _prediction(item: Prediction | None, quantity: Quantity, sources: tuple[tuple[str, str], ...]) -> Cell:
    if item is None:
        return Cell(text=NOT_KNOWN)
    low, high = format_quantity(quantity, item.low), format_quantity(quantity, item.high)
    mark = f" {_EXTRAPOLATED_MARK}" if item.extrapolated else ""
    number = sources.index((item.origin, item.source)) + 1
    return Cell(
        text=format_quantity(quantity, item.value) + mark,
        detail=f"{low} to {high}, {item.origin} ({number}){', extrapolated' if item.extrapolated else ''}",
    )


def _parity(parity: Parity | None) -> Cell:
    if parity is None:
        return Cell(text="not checked")
    difference = (
        f"{parity.top1_difference * 100:+.2f} points"
        if parity.metric_unit == "share"
        else f"{parity.top1_difference:+.3g}"
    )
    name = "top-1" if parity.metric == "accuracy" else parity.metric
    share = format_share(parity.equal_predictions)
    if parity.measure == "predictions equal":
        share = f"{share} of {parity.samples:,} {parity.measure}"
    else:
        share = f"{parity.measure} {share} over {parity.samples:,} samples"
    detail = f"{share}, {name} difference {difference}"
    if parity.detail:
        detail += f"; {parity.detail}"
    return Cell(text="passed" if parity.passed else "failed", detail=detail, status="good" if parity.passed else "bad")
