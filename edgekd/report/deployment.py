"""What the deployed artifact runs on, and where its predicted latency and energy go, operator by operator."""

from __future__ import annotations

from edgekd.quantities import format_energy_uj, format_latency_us
from edgekd.records import Deployment, OperatorCost, Report
from edgekd.report.cells import NOT_KNOWN, Cell, Section

_SPLIT = "The split is the cost model's: only whole networks were measured, so it has no error of its own."


def deployment_tables(report: Report) -> tuple[Section, ...]:
    """Return what the prediction is for and, folded, the operators that take longest first; nothing if not recorded."""
    found = report.deployment
    if found is None:
        return ()
    summary = Section(
        title="What the target deploys",
        headers=("What", "Value"),
        rows=tuple((Cell(text=name), Cell(text=value)) for name, value in _facts(found)),
        empty="Nothing was recorded.",
    )
    return (summary, _operators(found)) if found.operators else (summary,)


def _facts(found: Deployment) -> tuple[tuple[str, str], ...]:
    threads = "" if found.threads is None else f", {found.threads} thread{'' if found.threads == 1 else 's'}"
    latency = NOT_KNOWN
    if found.latency_us is not None:
        latency = f"{format_latency_us(found.latency_us[1])} (as it came: {format_latency_us(found.latency_us[0])})"
    floor = NOT_KNOWN
    if found.floor_us is not None and found.launch_floor_us is not None:
        each = format_latency_us(found.launch_floor_us)
        floor = f"{format_latency_us(found.floor_us)} ({found.launches} that compute, {each} each)"
    return (
        ("precision", found.precision),
        ("processor", found.processor),
        ("runtime", f"{found.runtime}{threads}"),
        ("predicted latency", latency),
        ("least time of its operators, at any width", floor),
    )


def _operators(found: Deployment) -> Section:
    headers = ("Operator", "Kind", "Latency before", "Latency after", "Share of the latency after")
    has_energy = all(operator.energy_uj is not None for operator in found.operators)
    slowest_first = sorted(found.operators, key=lambda operator: -operator.latency_us[1])
    assert found.latency_us is not None  # there are operators
    return Section(
        title="Predicted latency by operator",
        headers=(*headers, "Energy before", "Energy after") if has_energy else headers,
        rows=tuple(_operator_row(operator, found.latency_us[1], has_energy) for operator in slowest_first),
        empty="No operator takes any time.",
        notes=(_SPLIT,),
        is_folded=True,
    )


def _operator_row(operator: OperatorCost, total_us: float, has_energy: bool) -> tuple[Cell, ...]:
    before, after = operator.latency_us
    share = after / total_us if total_us else 0.0
    energies = operator.energy_uj or ()
    return (
        Cell(text=operator.name),
        Cell(text=operator.op),
        Cell(text=format_latency_us(before)),
        Cell(text=format_latency_us(after)),
        Cell(text=f"{share:.3f}", share=share),
        *(Cell(text=format_energy_uj(energy)) for energy in (energies if has_energy else ())),
    )
