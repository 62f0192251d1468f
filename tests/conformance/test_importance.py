"""Every criterion ranks every network of the zoo."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from zoo import NETWORKS
from zoo.adapter import flat
from zoo.narrowed import channels_of, inputs_of, rebuilt

from edgekd.prune.importance import CRITERIA, Examples, rank_units


def _squares(outputs: Any, targets: torch.Tensor) -> torch.Tensor:
    """A loss for any outputs: the sum of squares of all that are an example's."""
    floats = [output for output in flat(outputs) if output.is_floating_point()]
    return sum((output.reshape(len(targets), -1).square().sum(1) for output in floats), torch.zeros(len(targets)))


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in NETWORKS])
def test_every_criterion_orders_the_units_of_every_group_and_again_in_the_same_way(name: str) -> None:
    network, channels = rebuilt(name), channels_of(name)
    batches = tuple((inputs_of(name, 2, seed), torch.zeros(2)) for seed in range(2))
    examples = Examples(batches=batches, loss=_squares)
    orders = {}
    for criterion in CRITERIA.values():
        first, second = (rank_units(network, channels, criterion, examples=examples) for _ in range(2))
        assert first.groups == second.groups
        for group in first.groups:
            assert sorted(group.order) == list(range(group.units))
        orders[criterion.name] = [group.order for group in first.prunable]
    if sum(len(order) for order in orders["l2"]) > 8:
        # What looks at data sees something else in it than magnitude.
        assert orders["taylor"] != orders["l2"]
        assert orders["fisher"] != orders["l2"]
