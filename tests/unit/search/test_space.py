from __future__ import annotations

import numpy as np
import pytest
import torch
from digits import rebuilt
from torch import nn

from edgekd.prune.groups import find_groups
from edgekd.search.space import WidthSpace, count_operators, width_space


def chain(*channels: int, groups: int = 1) -> nn.Module:
    """Return 3 x 3 convolutions on 4 x 4 images from 1 channel through `channels`, and a classifier of 3 classes."""
    layers: list[nn.Module] = []
    for index, (before, after) in enumerate(zip((1, *channels), channels, strict=False)):
        layers += [nn.Conv2d(before, after, 3, padding=1, groups=1 if index == 0 else groups), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], 3)).eval()


@pytest.mark.parametrize(
    ("units", "multiple", "choices"),
    [
        (32, 8, (8, 16, 24, 32)),
        (16, 8, (8, 16)),
        (12, 8, (8, 12)),
        (20, 8, (8, 16, 20)),
        (8, 8, (8,)),
        (6, 8, (6,)),
        (1, 8, (1,)),
        (4, 1, (1, 2, 3, 4)),
    ],
)
def test_widths_are_multiples_up_to_the_full_width_and_a_small_group_stays_whole(
    units: int, multiple: int, choices: tuple[int, ...]
) -> None:
    space = width_space(find_groups(rebuilt(chain(units), (1, 4, 4))), multiple)
    assert space.choices == (choices,)


def test_a_unit_of_several_channels_needs_fewer_steps() -> None:
    # The second convolution has 4 groups of 4 channels: a unit is one position in each group, 4 channels of 16. Two
    # units are 8 channels, the multiple.
    channels = find_groups(rebuilt(chain(16, 16, groups=4), (1, 4, 4)))
    space = width_space(channels, 8)
    for group, choices in zip(channels.prunable, space.choices, strict=True):
        assert group.units == 4
        assert choices == (2, 4)


def test_names_are_those_of_the_prunable_groups_in_their_order() -> None:
    channels = find_groups(rebuilt(chain(8, 16), (1, 4, 4)))
    assert width_space(channels, 8).names == tuple(group.name for group in channels.prunable)


SPACE = WidthSpace(names=("a", "b"), choices=((8, 16, 24, 32), (6,)))


@pytest.mark.parametrize(
    ("ratio", "genes"),
    [(1.0, [3, 0]), (0.75, [2, 0]), (0.5, [1, 0]), (0.25, [0, 0]), (0.01, [0, 0]), (0.6, [1, 0])],
)
def test_uniform_takes_the_widths_nearest_to_the_ratio(ratio: float, genes: list[int]) -> None:
    # 0.6 of 32 is 19.2, nearer to 16 than to 24.
    assert SPACE.uniform(ratio).tolist() == genes


def test_genes_are_positions_among_the_choices() -> None:
    genes = np.array([[0, 0], [3, 0], [2, 0]])
    widths = SPACE.widths(genes)
    assert widths.tolist() == [[8, 6], [32, 6], [24, 6]]
    assert dict(SPACE.plan(widths[2]).widths) == {"a": 24, "b": 6}


def test_operators_are_counted_for_every_plan_at_once_by_hand() -> None:
    network = rebuilt(chain(8, 16), (1, 4, 4))
    channels = find_groups(network)
    operators = count_operators(network, channels, np.array([[8, 16], [4, 10]]))
    # 16 pixels; 9 weights a pair of channels; the classifier of 3 classes reads one value a channel.
    by_hand = [16 * 9 * (1 * a + a * b) + 3 * b for a, b in ((8, 16), (4, 10))]
    weighted = np.isin(operators.op, ("conv", "linear"))
    assert operators.macs[:, weighted].sum(axis=1).tolist() == by_hand
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert int(operators.weight_elements[0].sum()) == parameters
    assert torch.is_tensor(network(torch.zeros(1, 1, 4, 4)))


class Kinds(nn.Module):
    """A ReLU, an activation that bends behind a batch norm, both pools, a gate, and a sum that is activated."""

    def __init__(self) -> None:
        super().__init__()
        self.plain, self.bent, self.last = (nn.Conv2d(n, 4, 3, padding=1) for n in (1, 4, 4))
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.plain(x))
        y = nn.functional.hardswish(self.norm(self.bent(x)))
        gated = y * torch.sigmoid(nn.functional.adaptive_avg_pool2d(y, 1))
        return nn.functional.silu(self.last(nn.functional.max_pool2d(gated, 3, 1, 1)) + x)


def test_what_runtimes_tell_apart_is_told_of_each_operator() -> None:
    network = rebuilt(Kinds().eval(), (1, 4, 4))
    channels = find_groups(network)
    operators = count_operators(network, channels, np.full((1, len(channels.prunable)), 4))
    told = [(op, variant) for op, variant in zip(operators.op, operators.variant, strict=True) if op != "scale"]
    assert told == [
        ("conv", ""),
        ("conv", "curved"),
        ("pool", ""),
        ("add", "product"),
        ("pool", "max"),
        ("conv", ""),
        ("add", "curved"),
    ]
