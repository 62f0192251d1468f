"""The cost of plans on a target, as one function from widths to arrays."""

from __future__ import annotations

import numpy as np
from torch import fx

from edgekd.errors import TargetError
from edgekd.export.size import SizeModel
from edgekd.hardware.cost import (
    CostModel,
    load_cost_model,
    predict_cost,
    predict_energy_uj,
    predict_latency_us,
)
from edgekd.prune.groups import ChannelMap
from edgekd.records import Budget, Cost, Plan, Precision, Target
from edgekd.search.search import CostFunction, PlanCosts
from edgekd.search.space import Widths, count_operators


def cost_function(network: fx.GraphModule, channels: ChannelMap, target: Target, size_model: SizeModel) -> CostFunction:
    """Return the function that costs plans on the processor the target's first artifact is for."""
    precision, processor = target.artifacts[0]
    model = load_cost_model(target.name, processor, precision)

    def costs(widths: Widths) -> PlanCosts:
        operators = count_operators(network, channels, widths)
        has_energy = model is not None and model.energy is not None
        return PlanCosts(
            size_bytes=size_model.predict(operators),
            macs=operators.macs.sum(axis=1).astype(np.int64),
            parameters=operators.weight_elements.sum(axis=1).astype(np.int64),
            latency_us=predict_latency_us(model, operators) if model is not None else None,
            energy_uj=predict_energy_uj(model, operators) if model is not None and has_energy else None,
        )

    return costs


def plan_cost(
    network: fx.GraphModule,
    channels: ChannelMap,
    plan: Plan,
    target: Target,
    precision: Precision,
    processor: str,
) -> Cost:
    """Return what one plan costs on one processor; latency and energy are `None` where there is no table."""
    widths = dict(plan.widths)
    row = np.array([[widths[group.name] for group in channels.prunable]], dtype=np.int64).reshape(1, -1)
    operators = count_operators(network, channels, row)
    return predict_cost(load_cost_model(target.name, processor, precision), operators)


def require_tables(target: Target, budgets: tuple[Budget, ...]) -> None:
    """Make sure that every budget can be predicted on the target.

    Raises:
        TargetError: A budget is on a quantity the target has no table for.
    """
    precision, processor = target.artifacts[0]
    model: CostModel | None = load_cost_model(target.name, processor, precision)
    for budget in budgets:
        is_missing = {
            "size_bytes": False,
            "latency_us": model is None,
            "energy_uj": model is None or model.energy is None,
        }[budget.quantity]
        if is_missing:
            raise TargetError(
                f"target '{target.name}'",
                expected=f"a table of {budget.quantity.partition('_')[0]} for {precision} on its {processor}",
                found="none",
                hint="Leave that budget out, or choose a target with a profile: edgekd targets list.",
            )
