"""Put what a run measured together as a report."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from edgekd.budgets import BOUNDED
from edgekd.quantities import format_latency_us
from edgekd.records import (
    Artifact,
    Budget,
    Cost,
    Deployment,
    Finding,
    Metric,
    Parity,
    Prediction,
    Quantity,
    Report,
    Row,
)

# Of the launches alone: a predicted latency within it leaves at most a fifth to be gained by narrowing.
_NEAR_FLOOR = 1.25


def make_row(
    name: str,
    artifact: Artifact,
    *,
    cost: Cost,
    parameters: int,
    accuracy: Metric | None,
    trained: Metric | None,
    parity: Parity | None,
) -> Row:
    """Return the table's line for one artifact; `parameters` are those of the network in torch, batch norm included."""
    return Row(
        name=name,
        path=artifact.path,
        precision=artifact.precision,
        processor=artifact.processor,
        size_bytes=artifact.size_bytes,
        macs=cost.macs,
        parameters=parameters,
        accuracy=accuracy,
        trained_accuracy=trained,
        latency_us=cost.latency_us,
        energy_uj=cost.energy_uj,
        memory_bytes=cost.memory_bytes,
        parity=parity,
    )


def actual_value(row: Row, budget: Budget) -> float | None:
    """Return what a budget bounds: the file's size, or what is predicted of it; `None` if not known."""
    prediction = prediction_of(row, budget.quantity)
    value: float | None = prediction.value if prediction else getattr(row, budget.quantity)
    return value


def prediction_of(row: Row, quantity: Quantity) -> Prediction | None:
    """Return what was predicted with an interval: latency or energy; `None` if it is not known, or counted exactly."""
    value = getattr(row, quantity)
    return value if isinstance(value, Prediction) else None


def is_bound(row: Row, budget: Budget) -> bool:
    """Say whether a budget is for this row: it is for compressed ONNX files, of its precision if it names one."""
    return is_compressed(row) and budget.precision in (None, row.precision)


def is_compressed(row: Row) -> bool:
    """Say whether a row is that of a compressed ONNX file."""
    return row.name.startswith("compressed") and row.path.endswith(".onnx")


def judge(rows: Sequence[Row], budgets: Sequence[Budget]) -> tuple[Finding, ...]:
    """Return an error for each failed parity check and each budget that a row exceeds."""
    findings = [
        Finding(
            level="error",
            code="parity-failed",
            subject=row.path,
            message=f"does not compute what the student computes: {row.parity.detail}",
            hint="Do not deploy it. Report the network's operators in an issue.",
        )
        for row in rows
        if row.parity is not None and not row.parity.passed
    ]
    for budget in budgets:
        for row in rows:
            actual = actual_value(row, budget)
            if is_bound(row, budget) and actual is not None and actual > budget.limit:
                findings.append(
                    Finding(
                        level="error",
                        code=f"{BOUNDED[budget.quantity].word}-over-budget",
                        subject=row.path,
                        message=f"{budget.quantity} is {actual:,.0f}, the budget {budget.limit:,.0f}",
                        hint="Lower the budget a little for the search, and report this in an issue.",
                    )
                )
    return tuple(findings)


def remarks(artifacts: Sequence[Artifact], rows: Sequence[Row], budgets: Sequence[Budget]) -> tuple[Finding, ...]:
    """Return what a reader should know besides the figures: how to deploy a file, and which files no budget binds."""
    findings = [
        Finding(level="note", code="artifact", subject=artifact.path, message=text)
        for artifact in artifacts
        for text in artifact.notes
    ]
    for budget in budgets:
        if budget.quantity != "size_bytes":
            continue
        findings += [
            Finding(
                level="note",
                code="size-not-bound",
                subject=row.path,
                message=f"{row.size_bytes:,} bytes; the size budget of {budget.limit:,.0f} is for {budget.precision}",
                hint="Bind another file with --size-of.",
            )
            for row in rows
            if row.name.startswith("compressed") and not is_bound(row, budget) and row.size_bytes > budget.limit
        ]
    return tuple(findings)


def launch_remarks(deployment: Deployment) -> tuple[Finding, ...]:
    """Return a note if hardly more than the launches of its operators is left of the predicted latency."""
    latency_us, floor_us = deployment.latency_us, deployment.floor_us
    if latency_us is None or floor_us is None or deployment.launch_floor_us is None:
        return ()
    if latency_us[1] > _NEAR_FLOOR * floor_us:
        return ()
    message = (
        f"{deployment.launches} operators that compute take {format_latency_us(floor_us)}, "
        f"{format_latency_us(deployment.launch_floor_us)} each, however narrow they are, "
        f"and the predicted latency is {format_latency_us(latency_us[1])}: narrower layers gain little more"
    )
    subject = f"{deployment.precision} on {deployment.processor}"
    hint = "Only fewer layers, or another processor, would make it faster. Measure it on the device."
    return (Finding(level="note", code="near-launch-floor", subject=subject, message=message, hint=hint),)


def finish_report(report: Report, findings: Sequence[Finding]) -> Report:
    """Return the report with all findings and the verdict that follows from them."""
    everything = (*report.findings, *findings)
    is_failed = any(finding.level == "error" for finding in everything)
    return dataclasses.replace(report, findings=everything, verdict="fail" if is_failed else "pass")
