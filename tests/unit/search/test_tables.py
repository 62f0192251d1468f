"""Costs that are looked up are the sums over operators, and the peak of memory that of the pruned network."""

from __future__ import annotations

import numpy as np
import pytest
from networks import EXAMPLES, NETWORKS, rebuilt

from edgekd.export.size import SizeModel
from edgekd.hardware.cost import load_cost_model, predict_energy_uj, predict_latency_us
from edgekd.hardware.operators import Operators
from edgekd.hardware.target import load_target
from edgekd.models.exported import export_program
from edgekd.models.memory import peak_activations
from edgekd.models.rewrite import rebuild
from edgekd.prune.groups import ChannelMap, find_groups
from edgekd.prune.slicing import narrow
from edgekd.search.memory import peak_memory
from edgekd.search.plan_costs import cost_function, plan_cost
from edgekd.search.space import WidthSpace, count_operators, width_space
from edgekd.search.tables import CostTables, LinearOperators

every_network = pytest.mark.parametrize("name", NETWORKS)


def _drawn(space: WidthSpace, count: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    return np.stack([generator.choice(choices, count) for choices in space.choices], axis=1)


def _space(name: str) -> tuple[ChannelMap, WidthSpace]:
    channels = find_groups(rebuilt(name))
    return channels, width_space(channels, 2)


def _staircase(operators: Operators) -> np.ndarray:
    """A cost that is linear in nothing: eights of channels, and a part for each operator."""
    return np.ceil(operators.out_channels / 8) * np.ceil(operators.in_channels / 8) * operators.out_pixels + 0.5


PARTS = {
    "macs": lambda operators: operators.macs,
    "parameters": lambda operators: operators.weight_elements,
    "staircase": _staircase,
}


@every_network
def test_channel_counts_are_linear_in_the_widths(name):
    channels, space = _space(name)
    widths = _drawn(space, 20)
    linear = LinearOperators.of(lambda w: count_operators(rebuilt(name), channels, w), len(space.choices))
    expected = count_operators(rebuilt(name), channels, widths)
    found = linear.at(widths)
    assert np.array_equal(found.in_channels, expected.in_channels)
    assert np.array_equal(found.out_channels, expected.out_channels)
    assert (found.names, found.op) == (expected.names, expected.op)
    for field in ("kernel_area", "stride", "groups", "in_pixels", "out_pixels", "inputs", "repeats"):
        assert np.array_equal(getattr(found, field), getattr(expected, field)), field


@every_network
def test_what_is_looked_up_is_the_sum_over_the_operators(name):
    channels, space = _space(name)
    widths = _drawn(space, 50)
    linear = LinearOperators.of(lambda w: count_operators(rebuilt(name), channels, w), len(space.choices))
    found = CostTables(linear, space.choices, PARTS).look_up(widths)
    operators = count_operators(rebuilt(name), channels, widths)
    for key, part in PARTS.items():
        np.testing.assert_allclose(found[key], part(operators).sum(axis=1), rtol=1e-12)


def test_operators_of_many_groups_are_there():
    name = "concat"
    channels, space = _space(name)
    linear = LinearOperators.of(lambda w: count_operators(rebuilt(name), channels, w), len(space.choices))
    # Otherwise the way without tables would not have been tested.
    assert max(len(groups) for groups in linear.groups_of()) > 2


@every_network
def test_the_peak_of_memory_is_that_of_the_pruned_network(name):
    channels, space = _space(name)
    widths = _drawn(space, 4)
    memory = peak_memory(rebuilt(name), channels)
    expected = []
    for row in widths:
        pruned = narrow(rebuilt(name), channels, space.plan(row))
        expected.append(peak_activations(rebuild(export_program(pruned, EXAMPLES))))
    assert memory.elements(widths).tolist() == expected
    assert memory.bytes(widths, "fp32").tolist() == [4 * elements for elements in expected]
    costs = [plan_cost(rebuilt(name), channels, space.plan(row), load_target("rpi4"), "fp16", "gpu") for row in widths]
    assert [cost.memory_bytes for cost in costs] == [2 * elements for elements in expected]
    full = space.widths(space.uniform(1.0)[None])
    assert int(memory.elements(full)[0]) == peak_activations(rebuilt(name))


@pytest.mark.parametrize("target", ["rpi4", "jetson-tx2"])
@every_network
def test_looked_up_costs_are_those_predicted_plan_by_plan(name, target):
    network, device = rebuilt(name), load_target(target)
    channels, space = _space(name)
    precision, processor = device.artifacts[0]
    model = load_cost_model(device.name, processor, precision)
    size = SizeModel(precision="int8", graph_bytes=1000)
    widths = _drawn(space, 10)
    found = cost_function(network, channels, space, device, size)(widths)
    operators = count_operators(network, channels, widths)
    assert found.size_bytes.tolist() == size.predict(operators).tolist()
    assert found.macs.tolist() == operators.macs.sum(axis=1).tolist()
    assert found.memory_bytes.tolist() == peak_memory(network, channels).bytes(widths, precision).tolist()
    assert found.parameters.tolist() == operators.weight_elements.sum(axis=1).tolist()
    np.testing.assert_allclose(found.latency_us, predict_latency_us(model, operators), rtol=1e-12)
    np.testing.assert_allclose(found.energy_uj, predict_energy_uj(model, operators), rtol=1e-12)
