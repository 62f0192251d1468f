"""Which units a criterion puts first: against torch-pruning where it has the criterion, and by what each promises."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networks import CLASSES, EXAMPLES, INPUT_SHAPE, build, images, rebuilt
from torch import nn

from edgekd.errors import UnknownNameError
from edgekd.models.exported import export_program
from edgekd.models.rewrite import rebuild
from edgekd.prune.groups import ChannelMap, find_groups
from edgekd.prune.importance import CRITERIA, Examples, load_criterion, rank_units

UNITS = 8
BATCH = 16
every_criterion = pytest.mark.parametrize("name", CRITERIA)
looks_at_data = pytest.mark.parametrize("name", [c.name for c in CRITERIA.values() if c.needs_examples])


def cross_entropy(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


def examples(batches: int = 1) -> Examples:
    targets = torch.arange(BATCH) % CLASSES
    return Examples(batches=tuple(((images(BATCH, seed),), targets) for seed in range(batches)), loss=cross_entropy)


def ranked(module: nn.Module, name: str, seed: int = 0) -> ChannelMap:
    network = rebuild(export_program(module.eval(), EXAMPLES))
    return rank_units(network, find_groups(network), CRITERIA[name], examples=examples(), seed=seed)


def chain(*, with_norm: bool = False) -> nn.Sequential:
    """One group of 8 units, whose reader says the same of each of them."""
    norm = [nn.BatchNorm2d(UNITS)] if with_norm else []
    layers = (nn.Conv2d(3, UNITS, 3, bias=False), *norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    torch.manual_seed(3)
    network = nn.Sequential(*layers, nn.Linear(UNITS, CLASSES))
    with torch.no_grad():
        # Positive weights: torch-pruning compares absolute values where FPGM compares weights.
        network[0].weight.copy_(torch.rand(network[0].weight.shape))
        network[-1].weight.copy_(torch.linspace(-1, 1, CLASSES)[:, None].expand(CLASSES, UNITS))
        if with_norm:
            network[1].weight.copy_(torch.randn(UNITS))
    return network.eval()


# torch-pruning's class with the arguments that give the same scores up to a factor.
ORACLES = {
    "l1": ("GroupMagnitudeImportance", {"p": 1}),
    "l2": ("GroupMagnitudeImportance", {"p": 2}),
    "lamp": ("LAMPImportance", {}),
    "fpgm": ("FPGMImportance", {"p": 1}),
    "bn-scale": ("BNScaleImportance", {}),
    "taylor": ("GroupTaylorImportance", {"multivariable": True}),
}


@pytest.mark.parametrize("name", ORACLES)
def test_the_order_is_that_of_torch_pruning(name: str) -> None:
    import torch_pruning

    network = chain(with_norm=name == "bn-scale")
    ((x,), targets) = examples().batches[0]
    torch.autograd.backward(cross_entropy(network(x), targets).mean())
    graph = torch_pruning.DependencyGraph().build_dependency(network, torch.zeros(1, *INPUT_SHAPE))
    group = graph.get_pruning_group(network[0], torch_pruning.prune_conv_out_channels, idxs=list(range(UNITS)))
    kind, arguments = ORACLES[name]
    theirs = getattr(torch_pruning.importance, kind)(**arguments)(group)
    assert len(set(theirs.tolist())) == UNITS
    assert ranked(network, name).prunable[0].order == tuple(theirs.argsort(descending=True).tolist())


def test_fisher_is_the_mean_squared_derivative_of_each_examples_loss_by_all_readers_of_a_unit() -> None:
    network = copy.deepcopy(rebuilt("residual")).double()
    channels = find_groups(network)
    (x,), targets = examples().batches[0]
    data = Examples(batches=(((x.double(),), targets),), loss=cross_entropy)
    readers = [p for p in channels.inputs if isinstance(network.get_submodule(p), (nn.Conv2d, nn.Linear))]

    def losses(unit: int, factor: float) -> torch.Tensor:
        changed = copy.deepcopy(network)
        for path in readers:
            with torch.no_grad():
                changed.get_submodule(path).weight[:, torch.from_numpy(channels.inputs[path] == unit)] *= factor
        with torch.no_grad():
            return cross_entropy(changed(x.double()), targets)

    # ReLUs have no second derivative but at their bend, which so small a step rarely crosses.
    step = 1e-6
    expected = [
        float(((losses(unit, 1 + step) - losses(unit, 1 - step)) / (2 * step)).square().mean())
        for unit in range(len(channels.group_of))
    ]
    order = rank_units(network, channels, CRITERIA["fisher"], examples=data)
    for index, group in enumerate(order.groups):
        if not group.prunable:
            continue
        members = np.flatnonzero(channels.group_of == index)
        by_position = members[np.argsort(channels.position_of[members])]
        in_order = [expected[unit] for unit in by_position[list(group.order)]]
        assert in_order == sorted(in_order, reverse=True)
        assert in_order[0] > 2 * in_order[-1]


@every_criterion
def test_the_order_follows_the_units_when_they_change_places(name: str) -> None:
    if name == "random":
        pytest.skip("a draw has nothing to do with the units")
    network = build("plain")
    permutation = torch.randperm(network[0].out_channels, generator=torch.Generator().manual_seed(1))
    moved = copy.deepcopy(network)
    with torch.no_grad():
        for tensor, original in zip(moved[0].parameters(), network[0].parameters(), strict=True):
            tensor.copy_(original[permutation])
        for tensor, original in zip(moved[1].state_dict().values(), network[1].state_dict().values(), strict=True):
            if tensor.dim():
                tensor.copy_(original[permutation])
        reader = next(layer for layer in moved[2:] if isinstance(layer, nn.Conv2d))
        reader.weight.copy_(reader.weight[:, permutation])
    before, after = ranked(network, name).prunable[0].order, ranked(moved, name).prunable[0].order
    assert tuple(permutation[list(after)].tolist()) == before
    assert before != tuple(range(len(before)))


@looks_at_data
def test_a_unit_that_nothing_reads_goes_first_however_large_it_is(name: str) -> None:
    network = build("plain")
    with torch.no_grad():
        network[0].weight[5] *= 100
        reader = next(layer for layer in network[2:] if isinstance(layer, nn.Conv2d))
        reader.weight[:, 5] = 0
    assert ranked(network, name).prunable[0].order[-1] == 5
    assert ranked(network, "l2").prunable[0].order[0] == 5


@looks_at_data
def test_criteria_that_look_at_data_are_not_computed_without(name: str) -> None:
    network = rebuilt("plain")
    with pytest.raises(ValueError, match="needs examples"):
        rank_units(network, find_groups(network), CRITERIA[name])


@looks_at_data
def test_examples_in_other_batches_give_fisher_the_same_order_and_taylor_one_of_means(name: str) -> None:
    network = rebuilt("residual")
    channels, whole = find_groups(network), examples(2)
    inputs = torch.cat([x for (x,), _ in whole.batches])
    together = Examples(batches=(((inputs,), torch.cat([y for _, y in whole.batches])),), loss=cross_entropy)
    orders = [
        [g.order for g in rank_units(network, channels, CRITERIA[name], examples=e).prunable] for e in (whole, together)
    ]
    # The square of a mean over a batch is not the mean of squares over two.
    assert (orders[0] == orders[1]) is (name == "fisher")


@every_criterion
def test_ranking_leaves_the_network_as_it_was_and_is_repeatable(name: str) -> None:
    network = copy.deepcopy(rebuilt("depthwise"))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    needed = [parameter.requires_grad for parameter in network.parameters()]
    channels = find_groups(network)
    first, second = (rank_units(network, channels, CRITERIA[name], examples=examples()) for _ in range(2))
    assert first.groups == second.groups
    assert [parameter.requires_grad for parameter in network.parameters()] == needed
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_another_seed_is_another_draw_and_nothing_else() -> None:
    drawn = [ranked(chain(), "random", seed).prunable[0].order for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert ranked(chain(), "l2", 0).groups == ranked(chain(), "l2", 1).groups


def test_groups_without_a_norm_are_ranked_by_magnitude_where_scales_rank() -> None:
    assert ranked(chain(), "bn-scale").groups == ranked(chain(), "l2").groups
    with_norm = chain(with_norm=True)
    assert ranked(with_norm, "bn-scale").prunable[0].order == tuple(
        with_norm[1].weight.abs().argsort(descending=True).tolist()
    )


def test_of_two_equal_filters_fpgm_drops_one_before_a_small_filter_of_its_own_kind() -> None:
    network = chain()
    with torch.no_grad():
        for unit in range(UNITS):
            network[0].weight[unit] = 0.0
            network[0].weight[unit].view(-1)[unit] = 1.0
        network[0].weight[0].view(-1)[0] = 0.9  # small, but like no other
        network[0].weight[6] = network[0].weight[7] = network[0].weight[5]  # three of a kind
    assert ranked(network, "fpgm").prunable[0].order[-3:] == (5, 6, 7)
    assert ranked(network, "l2").prunable[0].order[-1] == 0


def test_each_channel_of_a_transposed_depthwise_layer_is_judged_by_its_own_filter() -> None:
    torch.manual_seed(0)
    up = nn.ConvTranspose2d(UNITS, UNITS, 2, stride=2, groups=UNITS, bias=False)
    first = nn.Conv2d(3, UNITS, 1, bias=False)
    with torch.no_grad():
        first.weight.fill_(1.0)
        up.weight.copy_(torch.arange(1.0, UNITS + 1)[:, None, None, None].expand_as(up.weight))
    network = nn.Sequential(first, up, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(UNITS, CLASSES))
    for name in ("l1", "l2", "lamp"):
        assert ranked(network, name).prunable[0].order == tuple(reversed(range(UNITS))), name


def test_an_unknown_criterion_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'taylor'"):
        load_criterion("tailor")


def test_criteria_are_found_under_their_names() -> None:
    for name, criterion in CRITERIA.items():
        assert load_criterion(name) is criterion
        assert criterion.name == name
        assert "Source:" in (criterion.score.__doc__ or "") or name == "random"


def test_a_group_that_only_a_matrix_product_reads_is_ranked_by_magnitude_where_readers_rank() -> None:
    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.left, self.right = nn.Linear(8, UNITS, bias=False), nn.Linear(8, UNITS, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rows = x.mean(1)
            return (self.left(rows) @ self.right(rows).transpose(1, 2)).flatten(1)[:, :CLASSES]

    found = ranked(Product(), "fisher")
    assert found.prunable
    assert found.groups == ranked(Product(), "l2").groups
