"""The budgets of a run: what was asked for, what came out, and how to check it again."""

from __future__ import annotations

import shlex

from edgekd.budgets import BOUNDED, format_quantity
from edgekd.records import Budget, Report, Row
from edgekd.report.cells import NOT_KNOWN, Cell, Section
from edgekd.report.collect import actual_value, is_bound


def budget_table(report: Report) -> Section:
    """Return a line for every budget and artifact it is for."""
    rows: list[tuple[Cell, ...]] = []
    for budget in report.budgets:
        bound = [_budget_row(budget, row) for row in report.rows if is_bound(row, budget)]
        rows += bound or [_budget_row(budget, None)]
    headers = ("Quantity", "Artifact", "Limit", "Actual", "Met")
    return Section(title="Budgets", headers=headers, rows=tuple(rows), empty="No budget was set.")


def check_command(report: Report) -> str:
    """Return the command that holds the files of the run to its budgets again."""
    words = ["edgekd", "check", "RUN"]
    for budget in report.budgets:
        kind = BOUNDED[budget.quantity]
        words += [kind.option, f"{budget.limit:.15g}{kind.unit}"]
    return shlex.join(words)


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
