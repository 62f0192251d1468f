"""What the artifact that a target deploys runs on, with the predicted cost of each operator before and after."""

from __future__ import annotations

from torch import fx

from edgekd.hardware.cost import LatencyModel, energy_by_operator_uj, latency_by_operator_us, load_cost_model
from edgekd.hardware.operators import Operators
from edgekd.prune.groups import ChannelMap
from edgekd.records import Deployment, OperatorCost, Plan, Target
from edgekd.search.plan_costs import widths_of
from edgekd.search.space import count_operators


def describe_deployment(network: fx.GraphModule, channels: ChannelMap, plan: Plan, target: Target) -> Deployment:
    """Return it for the target's first artifact; before is the network as it came, after is the plan."""
    precision, kind = target.artifacts[0]
    processor = target.processor(kind)
    operators = count_operators(network, channels, widths_of(channels, channels.full_plan(), plan))
    model = load_cost_model(target.name, kind, precision)
    return Deployment(
        precision=precision,
        processor=processor.title,
        runtime=processor.runtime,
        threads=processor.threads,
        launches=int(operators.is_compute.sum()),
        launch_floor_us=processor.launch_floor_us,
        operators=() if model is None else _operator_costs(model, operators),
    )


def _operator_costs(model: LatencyModel, operators: Operators) -> tuple[OperatorCost, ...]:
    """Return the costs in the order of the network, of those operators that take any time."""
    latency = latency_by_operator_us(model, operators)
    energy = None if model.energy is None else energy_by_operator_uj(model, operators)
    return tuple(
        OperatorCost(
            name=name,
            op=operators.op[index],
            latency_us=(float(latency[0, index]), float(latency[1, index])),
            energy_uj=None if energy is None else (float(energy[0, index]), float(energy[1, index])),
        )
        for index, name in enumerate(operators.names)
        if latency[:, index].any()
    )
