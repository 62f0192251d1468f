"""What was done to the network: the stages, the widths, and what there is to say about them."""

from __future__ import annotations

from edgekd.quantities import format_count, format_duration_s
from edgekd.records import Metric, Report
from edgekd.report.cells import Cell, Section, metric_cell, metric_difference, metric_of


def stage_table(report: Report) -> Section:
    """Return what each stage took, gave and cost."""
    rows = []
    before: Metric | None = None
    for stage in report.stages:
        rows.append(
            (
                Cell(text=stage.name, detail=stage.summary),
                Cell(text=format_duration_s(stage.seconds)),
                metric_cell(stage.accuracy),
                Cell(text=metric_difference(stage.accuracy, before) if stage.accuracy and before else ""),
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


def width_table(report: Report) -> Section:
    """Return the channels of every group before and after."""
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


def finding_table(report: Report) -> Section:
    """Return what a person should know, or what failed."""
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


def provenance_table(report: Report) -> Section:
    """Return what the figures were made with."""
    rows = tuple((Cell(text=key), Cell(text=value)) for key, value in report.provenance if key != "command")
    return Section(title="Provenance", headers=("What", "Value"), rows=rows, empty="Nothing was recorded.")
