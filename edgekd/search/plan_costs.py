"""The cost of plans on a target, as one function from widths to arrays."""

from __future__ import annotations

import dataclasses

import numpy as np
from torch import fx

from edgekd.budgets import BOUNDED
from edgekd.errors import TargetError
from edgekd.export.size import SizeModel, content_bytes
from edgekd.hardware.cost import (
    LatencyModel,
    energy_by_operator_uj,
    latency_by_operator_us,
    load_cost_model,
    predict_cost,
)
from edgekd.prune.groups import ChannelMap
from edgekd.records import Budget, Cost, Plan, Precision, Target
from edgekd.search.costs import CostFunction, PlanCosts
from edgekd.search.memory import peak_memory
from edgekd.search.space import Widths, WidthSpace, count_operators
from edgekd.search.tables import CostTables, LinearOperators, PartFunction


def cost_function(
    network: fx.GraphModule, channels: ChannelMap, space: WidthSpace, target: Target, size_model: SizeModel
) -> CostFunction:
    """Return the function that costs plans of a space on the processor the target's first artifact is for."""
    tables = cost_tables(network, channels, space, target, size_model)
    memory = peak_memory(network, channels)
    precision, _ = target.artifacts[0]

    def costs(widths: Widths) -> PlanCosts:
        found = tables.look_up(widths)
        return PlanCosts(
            size_bytes=found["content_bytes"].astype(np.int64) + size_model.graph_bytes,
            macs=found["macs"].astype(np.int64),
            parameters=found["parameters"].astype(np.int64),
            latency_us=found.get("latency_us"),
            energy_uj=found.get("energy_uj"),
            memory_bytes=memory.bytes(widths, precision),
        )

    return costs


def cost_tables(
    network: fx.GraphModule, channels: ChannelMap, space: WidthSpace, target: Target, size_model: SizeModel
) -> CostTables:
    """Return the tables of everything that is a sum over operators; latency and energy where there is a profile."""
    precision, processor = target.artifacts[0]
    model = load_cost_model(target.name, processor, precision)
    parts: dict[str, PartFunction] = {
        "content_bytes": lambda operators: content_bytes(operators, size_model.precision),
        "macs": lambda operators: operators.macs,
        "parameters": lambda operators: operators.weight_elements,
    }
    if model is not None:
        parts["latency_us"] = lambda operators: latency_by_operator_us(model, operators)
        if model.energy is not None:
            parts["energy_uj"] = lambda operators: energy_by_operator_uj(model, operators)
    linear = LinearOperators.of(lambda widths: count_operators(network, channels, widths), len(space.names))
    return CostTables(linear, space.group_choices, parts)


def widths_of(channels: ChannelMap, *plans: Plan) -> Widths:
    """Return the widths of plans in the order of the prunable groups, `[plans, groups]`."""
    widths = [dict(plan.widths) for plan in plans]
    rows = [[known[group.name] for group in channels.prunable] for known in widths]
    return np.array(rows, dtype=np.int64).reshape(len(plans), len(channels.prunable))


def plan_cost(
    network: fx.GraphModule,
    channels: ChannelMap,
    plan: Plan,
    target: Target,
    precision: Precision,
    processor: str,
) -> Cost:
    """Return what one plan costs on one processor; latency and energy are `None` where there is no table."""
    row = widths_of(channels, plan)
    operators = count_operators(network, channels, row)
    cost = predict_cost(load_cost_model(target.name, processor, precision), operators)
    memory = peak_memory(network, channels).bytes(row, precision)
    return dataclasses.replace(cost, memory_bytes=int(memory[0]))


def require_tables(target: Target, budgets: tuple[Budget, ...]) -> None:
    """Make sure that every budget can be predicted on the target.

    Raises:
        TargetError: A budget is on a quantity the target has no table for.
    """
    precision, processor = target.artifacts[0]
    model: LatencyModel | None = load_cost_model(target.name, processor, precision)
    missing = {name for name, part in (("latency_us", model), ("energy_uj", model and model.energy)) if part is None}
    for budget in budgets:
        if budget.quantity in missing:
            raise TargetError(
                f"target '{target.name}'",
                expected=f"a table of {BOUNDED[budget.quantity].noun} for {precision} on its {processor}",
                found="none",
                hint="Leave that budget out, or choose a target with a profile: edgekd targets list.",
            )
