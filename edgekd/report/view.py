"""What a report says, in words: every table as cells of text, the same for Markdown and HTML.

Nothing is escaped here; that belongs to the format. Nothing is computed twice either: both formats print
these cells.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from edgekd.budgets import BOUNDED, format_quantity
from edgekd.quantities import (
    format_count,
    format_duration_s,
    format_metric_difference,
    format_metric_value,
    format_ratio,
    format_share,
    format_size,
    format_standard_error,
    metric_title,
)
from edgekd.records import Budget, Metric, Parity, Prediction, Quantity, Report, Row
from edgekd.report.collect import actual_value, is_bound

NOT_KNOWN = "not known"
EXTRAPOLATED = "outside the range of networks the prediction was fitted on: a ranking aid, not a promise"
MEMORY = "what the values between layers take at once for one example, without weights and what the runtime adds"
_EXTRAPOLATED_MARK = "\u2020"


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
    """A titled table with the notes below it. An empty table says so in `empty`."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    empty: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A whole report in words."""

    title: str
    is_pass: bool
    summary: str
    metric: str
    budgets: Section
    artifacts: Section
    sections: tuple[Section, ...]
    commands: tuple[tuple[str, str], ...]


def view_report(report: Report) -> View:
    """Return the report in words, verdict first."""
    return View(
        title=report.title,
        is_pass=report.verdict == "pass",
        summary=f"Target {report.target}, plan {report.plan_id}.",
        metric=metric_of(report),
        budgets=_budgets(report),
        artifacts=_artifacts(report),
        sections=(_stages(report), _widths(report), _findings(report), _provenance(report)),
        commands=_commands(report),
    )


def metric_of(report: Report) -> str:
    """Return the name of what the report's table shows of every file, with its direction if lower is better."""
    found = [item.accuracy or item.trained_accuracy for item in report.rows] + [it.accuracy for it in report.stages]
    return next((metric_title(metric) for metric in found if metric is not None), "Accuracy")


def is_original(row: Row) -> bool:
    """Return whether the row is the network as it came: its name is `original`, or starts with that word."""
    return row.name.split()[:1] == ["original"]


def _budgets(report: Report) -> Section:
    rows: list[tuple[Cell, ...]] = []
    for budget in report.budgets:
        bound = [_budget_row(budget, row) for row in report.rows if is_bound(row, budget)]
        rows += bound or [_budget_row(budget, None)]
    headers = ("Quantity", "Artifact", "Limit", "Actual", "Met")
    return Section(title="Budgets", headers=headers, rows=tuple(rows), empty="No budget was set.")


def _budget_row(budget: Budget, row: Row | None) -> tuple[Cell, ...]:
    kind = BOUNDED[budget.quantity]
    actual = actual_value(row, budget) if row else None
    if actual is None:
        met = Cell(text=NOT_KNOWN, status="warning")
    else:
        is_met = actual <= budget.limit
        met = Cell(text="yes" if is_met else "no", status="good" if is_met else "bad")
    return (
        Cell(text=kind.title, detail=f"of {budget.precision}" if budget.precision else ""),
        Cell(text=row.name if row else "none"),
        Cell(text=format_quantity(budget.quantity, budget.limit)),
        Cell(
            text=NOT_KNOWN if actual is None else format_quantity(budget.quantity, actual),
            detail="predicted" if kind.is_predicted and actual is not None else "",
        ),
        met,
    )


def _artifacts(report: Report) -> Section:
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


def _artifact_row(row: Row, original: Row | None, sources: tuple[tuple[str, str], ...]) -> tuple[Cell, ...]:
    both = row.accuracy is not None and row.trained_accuracy is not None
    return (
        Cell(text=row.name, detail=", ".join(filter(None, (row.precision, row.processor, row.path)))),
        Cell(text=format_size(row.size_bytes), detail=f"{row.size_bytes:,} bytes"),
        _ratio(row.size_bytes, original.size_bytes if original else None),
        Cell(text=format_count(row.macs)),
        _ratio(row.macs, original.macs if original else None),
        Cell(text=format_count(row.parameters)),
        _accuracy(row.accuracy),
        _accuracy(row.trained_accuracy),
        Cell(text=_difference(row.accuracy, row.trained_accuracy) if both else NOT_KNOWN),
        _prediction(row.latency_us, "latency_us", sources),
        _prediction(row.energy_uj, "energy_uj", sources),
        _memory(row.memory_bytes),
        _parity(row.parity),
    )


def _ratio(part: int, whole: int | None) -> Cell:
    return Cell(text=(None if whole is None else format_ratio(part, whole)) or NOT_KNOWN)


def _accuracy(metric: Metric | None) -> Cell:
    if metric is None:
        return Cell(text=NOT_KNOWN)
    error = format_standard_error(metric).strip()
    unit = " %" if metric.unit == "share" else ""
    told = [f"{error}{unit}"] if error else []
    return Cell(
        text=format_metric_value(metric.value, metric.unit),
        detail=", ".join([*told, f"n = {metric.samples:,}", metric.split]),
    )


def _difference(after: Metric | None, before: Metric | None) -> str:
    """Return the difference of two measurements; on different splits it would mean nothing."""
    if after is None or before is None or (after.split, after.name) != (before.split, before.name):
        return NOT_KNOWN
    return format_metric_difference(after.value, before.value, after.unit)


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


def _stages(report: Report) -> Section:
    rows = []
    before: Metric | None = None
    for stage in report.stages:
        rows.append(
            (
                Cell(text=stage.name, detail=stage.summary),
                Cell(text=format_duration_s(stage.seconds)),
                _accuracy(stage.accuracy),
                Cell(text=_difference(stage.accuracy, before) if stage.accuracy and before else ""),
                Cell(text="" if stage.macs is None else format_count(stage.macs)),
                Cell(text="" if stage.parameters is None else format_count(stage.parameters)),
            )
        )
        # A stage that measured nothing (an export) does not break the chain.
        before = stage.accuracy or before
    return Section(
        title="What each stage gave",
        headers=("Stage", "Time", f"{metric_of(report)} after it", "Change", "MACs", "Parameters"),
        rows=tuple(rows),
        empty="No stage was run.",
    )


def _widths(report: Report) -> Section:
    rows = tuple(
        (
            Cell(text=name),
            Cell(text=f"{before:,}"),
            Cell(text=f"{after:,}"),
            Cell(text=f"{after / before:.2f}", share=after / before),
        )
        for name, before, after in report.widths
    )
    headers = ("Channel group", "Before", "After", "Width ratio")
    return Section(title="Widths", headers=headers, rows=rows, empty="No channel group was pruned.")


def _findings(report: Report) -> Section:
    status = {"error": "bad", "warning": "warning", "note": ""}
    rows = tuple(
        (
            Cell(text=finding.level, status=status[finding.level]),
            Cell(text=finding.code),
            Cell(text=finding.subject),
            Cell(text=finding.message, detail=finding.hint or ""),
        )
        for finding in report.findings
    )
    headers = ("Level", "Code", "Subject", "Finding")
    return Section(title="Findings", headers=headers, rows=rows, empty="Nothing to report.")


def _provenance(report: Report) -> Section:
    rows = tuple((Cell(text=key), Cell(text=value)) for key, value in report.provenance if key != "command")
    return Section(title="Provenance", headers=("What", "Value"), rows=rows, empty="Nothing was recorded.")


def _commands(report: Report) -> tuple[tuple[str, str], ...]:
    """Return what to run again and why, from the recorded command and the budgets."""
    recorded = [("Make this run again", value) for key, value in report.provenance if key == "command" and value]
    check = ("Check its files, with RUN as its folder", f"edgekd check RUN{_options(report.budgets)}")
    return (*recorded, check)


def _options(budgets: Iterable[Budget]) -> str:
    words = []
    for budget in budgets:
        kind = BOUNDED[budget.quantity]
        words += [kind.option, f"{budget.limit:.15g}{kind.unit}"]
    return "".join(f" {shlex.quote(word)}" for word in words)
