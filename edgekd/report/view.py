"""What a report says, in words: every table as cells of text, the same for Markdown and HTML.

Nothing is computed twice: both formats print these cells.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgekd.records import Report
from edgekd.report.artifacts import artifact_table
from edgekd.report.budgets import budget_table, check_command
from edgekd.report.cells import Section, metric_of
from edgekd.report.deployment import deployment_tables
from edgekd.report.history import finding_table, provenance_table, stage_table, width_table


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
        budgets=budget_table(report),
        artifacts=artifact_table(report),
        sections=(
            *deployment_tables(report),
            stage_table(report),
            width_table(report),
            finding_table(report),
            provenance_table(report),
        ),
        commands=_commands(report),
    )


def _commands(report: Report) -> tuple[tuple[str, str], ...]:
    """Return what to run again and why, from the recorded command and the budgets."""
    recorded = [("Make this run again", value) for key, value in report.provenance if key == "command" and value]
    check = ("Check its files, with RUN as its folder", check_command(report))
    return (*recorded, check)
