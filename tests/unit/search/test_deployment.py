"""The costs by operator of the deployed artifact add up to what is predicted of the whole."""

from __future__ import annotations

import dataclasses

import pytest
from networks import NETWORKS, rebuilt

from edgekd.hardware.target import load_target
from edgekd.prune.groups import find_groups
from edgekd.search.deployment import describe_deployment
from edgekd.search.plan_costs import plan_cost
from edgekd.search.space import width_space


@pytest.mark.parametrize("target", ["rpi4", "jetson-tx2"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_operators_add_up_to_the_predicted_latency_and_energy_before_and_after(name: str, target: str) -> None:
    network, device = rebuilt(name), load_target(target)
    channels = find_groups(network)
    space = width_space(channels, 2)
    plans = [space.plan(space.widths(space.uniform(ratio)[None])[0]) for ratio in (1.0, 0.5)]
    found = describe_deployment(network, channels, plans[1], device)
    for index, plan in enumerate(plans):
        cost = plan_cost(network, channels, plan, device, *device.artifacts[0])
        assert cost.latency_us is not None
        assert cost.energy_uj is not None
        assert found.latency_us is not None
        assert found.latency_us[index] == pytest.approx(cost.latency_us.value)
        energies = [operator.energy_uj[index] for operator in found.operators if operator.energy_uj is not None]
        assert sum(energies) == pytest.approx(cost.energy_uj.value)
    assert found.processor == device.processor(device.artifacts[0][1]).title
    assert found.launches <= len(network.graph.nodes)


def test_a_board_without_a_table_has_no_operators() -> None:
    network, board = rebuilt("concat"), dataclasses.replace(load_target("rpi4"), name="my-board")
    channels = find_groups(network)
    found = describe_deployment(network, channels, channels.full_plan(), board)
    assert (found.operators, found.latency_us) == ((), None)
    assert found.runtime == load_target("rpi4").processor("cpu").runtime
