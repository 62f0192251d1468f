"""Which channels live and die together, derived by hand for each network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import EXAMPLES, INPUT_SHAPE, NETWORKS, build, rebuilt
from torch import nn

from edgekd.models.exported import export_program
from edgekd.models.rewrite import rebuild
from edgekd.prune.groups import ChannelMap, find_groups
from edgekd.prune.importance import rank_units
from edgekd.prune.slicing import narrow
from edgekd.records import Plan

every_network = pytest.mark.parametrize("name", NETWORKS)


def _sizes(channels: ChannelMap) -> list[tuple[str, int]]:
    return [(group.name, group.units) for group in channels.prunable]


# Units are channels, but: a grouped convolution of 16 channels in 4 groups has 4 (the same position of each group);
# a padded shortcut cuts the sums into channels that reach back to the stem and channels that begin at the padding.
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain", [("0", 12), ("4", 16), ("8", 20)]),
        ("residual", [("0.0", 12), ("2.conv1", 12), ("3.conv1", 12)]),
        ("projection", [("0.0", 8), ("2.conv1", 16), ("2.conv2", 16), ("3.conv1", 16)]),
        # Stem channels come out of the first shortcut as 4..11 of 16, the padding's as 0..3 and 12..15; the second
        # shortcut appends 8. So three kinds of channels, and the hidden ones of each block.
        ("padded", [("0.0", 8), ("2.conv1", 16), ("2.conv2", 8), ("3.conv1", 16), ("4.conv1", 24), ("4.conv2", 8)]),
        ("concat", [("0.0", 8), ("2.conv", 6), ("3.conv", 6), ("6", 10)]),
        ("depthwise", [("0.0", 8), ("2.expand.0.0", 24), ("3.expand.0.0", 24), ("3.project.0", 12), ("4.0", 20)]),
        (
            "grouped",
            [("0.0", 8), ("2.reduce.0", 4), ("2.middle.0", 4), ("3.reduce.0", 4), ("3.middle.0", 4)],
        ),
        ("squeeze_excite", [("0.0", 12), ("2.squeeze", 6), ("3.0", 12)]),
        ("flattened", [("0.0", 10), ("3.0", 12), ("7", 24)]),
        # The shared convolution's inputs are the stem's channels, and the second time its own.
        ("shared", [("stem.0", 12), ("last.0", 16)]),
        # `before` reaches the unknown operator and stays whole; `reader` comes after it.
        ("unknown", [("reader.0", 12), ("after.0", 14)]),
        ("preactivation", [("0", 10), ("1.conv1", 14), ("2.conv1", 14)]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_groups_are_those_of_the_networks_arithmetic(name, expected):
    assert sorted(_sizes(find_groups(rebuilt(name)))) == sorted(expected)


@every_network
def test_input_and_logits_stay_whole_and_the_reason_says_so(name):
    channels = find_groups(rebuilt(name))
    fixed = {group.reason for group in channels.groups if not group.prunable}
    assert {"the network's input", "the network's output"} <= fixed
    assert all(group.reason for group in channels.groups if not group.prunable)
    assert all(group.reason is None for group in channels.prunable)


def test_what_touches_an_unknown_operator_stays_whole_and_the_reason_names_it():
    channels = find_groups(rebuilt("unknown"))
    reasons = {group.name: group.reason for group in channels.groups if not group.prunable}
    assert "roll" in reasons["before.0"]
    assert "which is not followed" in reasons["before.0"]
    # What the operator puts out is as little known as what it takes in.
    readers = {channels.groups[g].reason for g in np.unique(channels.group_of[channels.inputs["reader.0"]])}
    assert readers == {reasons["before.0"]}
    narrowed = narrow(rebuilt("unknown"), channels, Plan(widths=tuple((g.name, 1) for g in channels.prunable)))
    assert narrowed.get_submodule("before.0").out_channels == 10
    assert narrowed.get_submodule("reader.0").in_channels == 10


def test_a_residual_add_ties_the_same_channel_of_both_sides():
    channels = find_groups(rebuilt("residual"))
    stem = channels.outputs["0.0"]
    for path in ("2.conv2", "2.bn2", "3.conv2", "3.bn2"):
        assert (channels.outputs[path] == stem).all()
    assert (channels.inputs["2.conv1"] == stem).all()


def test_padding_shifts_channels_to_where_they_come_out():
    channels = find_groups(rebuilt("padded"))
    stem, wide, widest = (channels.outputs[path] for path in ("0.0", "2.conv2", "4.conv2"))
    assert (wide[4:12] == stem).all()
    assert not np.isin(wide[[0, 1, 2, 3, 12, 13, 14, 15]], stem).any()
    assert (widest[:16] == wide).all()
    assert not np.isin(widest[16:], wide).any()


def test_a_concatenation_lays_channels_side_by_side():
    channels = find_groups(rebuilt("concat"))
    parts = [channels.outputs[path] for path in ("0.0", "2.conv", "3.conv")]
    assert (channels.inputs["6"] == np.concatenate(parts)).all()


def test_a_depthwise_convolution_passes_channels_through():
    channels = find_groups(rebuilt("depthwise"))
    assert (channels.outputs["2.depthwise.0.0"] == channels.outputs["2.expand.0.0"]).all()


def test_a_grouped_convolution_ties_the_same_position_of_each_group():
    channels = find_groups(rebuilt("grouped"))
    for ids in (channels.inputs["2.middle.0"], channels.outputs["2.middle.0"]):
        table = ids.reshape(4, 4)
        assert (table == table[0]).all()
        assert len(set(table[0].tolist())) == 4


def test_a_flattened_map_gives_each_channel_one_feature_a_pixel():
    channels = find_groups(rebuilt("flattened"))
    # PyTorch flattens channel by channel: 2 x 2 pixels of channel 0 first.
    assert (channels.inputs["7"] == np.repeat(channels.outputs["3.0"], 4)).all()


def test_a_layer_called_twice_has_the_same_channels_both_times():
    channels = find_groups(rebuilt("shared"))
    assert (channels.inputs["twice"] == channels.outputs["twice"]).all()
    assert (channels.outputs["stem.0"] == channels.outputs["twice"]).all()


@pytest.mark.parametrize(
    ("change", "is_followed"),
    [
        (lambda x: x + x.mean((2, 3), keepdim=True), True),
        (lambda x: x * x.mean(1, keepdim=True), False),
        (lambda x: x + x.flip(1), False),
        (lambda x: x[:, :4].contiguous(), True),
        (lambda x: x[:, :, ::2, 1:], True),
        (lambda x: torch.cat([x, x], 2), True),
        (lambda x: x.reshape(-1, 4, 2, 8, 8).transpose(1, 2).reshape(-1, 8, 8, 8), True),
        (lambda x: x.softmax(1), False),
        (lambda x: x * 2.0, True),
        (lambda x: torch.nn.functional.pad(x, (1, 1, 1, 1)), True),
    ],
    ids=[
        *("broadcast over pixels", "broadcast over channels", "flip", "channel slice", "spatial slice"),
        *("spatial concatenation", "channel shuffle", "softmax", "scalar", "spatial pad"),
    ],
)
def test_an_operator_is_followed_or_its_channels_stay_whole(change, is_followed):
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before = nn.Conv2d(3, 8, 3, padding=1)
            self.after = nn.LazyConv2d(6, 3)
            self.last = nn.Linear(6, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.after(change(self.before(x))).mean((2, 3)))

    net = Net()
    net(torch.zeros(2, *INPUT_SHAPE))
    network = rebuild(export_program(net, EXAMPLES))
    channels = find_groups(network)
    names = {group.name.partition("#")[0] for group in channels.prunable}
    assert names == ({"before", "after"} if is_followed else {"after"})
    # And whatever is left to prune can be pruned.
    narrowed = narrow(network, channels, Plan(widths=tuple((g.name, min(2, g.units)) for g in channels.prunable)))
    assert narrowed(torch.zeros(2, *INPUT_SHAPE)).shape == (2, 5)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in ("padded", "unknown")])
def test_the_same_layers_are_coupled_as_in_torch_pruning(name):
    """torch-pruning cannot do the padded shortcut (it makes a network that crashes), nor leave the unknown whole."""
    import torch_pruning

    network = build(name)
    graph = torch_pruning.DependencyGraph().build_dependency(network, torch.zeros(2, *INPUT_SHAPE))
    paths = {module: path for path, module in network.named_modules()}
    channels = find_groups(rebuilt(name))
    for path, module in network.named_modules():
        if not isinstance(module, nn.Conv2d) or module.groups > 1:
            continue
        coupled = graph.get_pruning_group(module, torch_pruning.prune_conv_out_channels, idxs=[0])
        theirs = set()
        for item in coupled:
            layer = paths.get(item.dep.target.module)
            kind = item.dep.target.module
            if layer is None or not isinstance(kind, (nn.Conv2d, nn.Linear, nn.BatchNorm2d)):
                continue
            if graph.is_out_channel_pruning_fn(item.dep.handler) or isinstance(kind, nn.BatchNorm2d):
                theirs.add(f"{layer}.out")
            else:
                theirs.add(f"{layer}.in")
        unit = channels.outputs[path][0]
        ours = {
            f"{layer}.{side}"
            for side, table in (("out", channels.outputs), ("in", channels.inputs))
            for layer, ids in table.items()
            if unit in ids
        }
        # Of layers that pass channels through, torch-pruning names one side only.
        through = [m for m in paths if isinstance(m, nn.BatchNorm2d) or getattr(m, "groups", 1) > 1]
        both = {paths[m] for m in through}
        assert _merged(ours, both) == _merged(theirs, both), path


def _merged(members: set[str], both: set[str]) -> set[str]:
    return {m.rpartition(".")[0] if m.rpartition(".")[0] in both else m for m in members}


# The order within a group


def _ordered(module: nn.Module) -> ChannelMap:
    network = rebuild(export_program(module, EXAMPLES))
    return rank_units(network, find_groups(network))


def _column(values: list[float]) -> torch.Tensor:
    return torch.tensor(values)[:, None, None, None]


def test_units_are_ranked_by_the_magnitude_of_their_filters():
    conv, head = nn.Conv2d(3, 4, 1, bias=False), nn.Linear(4, 5)
    with torch.no_grad():
        conv.weight.copy_(_column([0.1, -3.0, 2.0, 0.5]).expand(4, 3, 1, 1))
    channels = _ordered(nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head))
    assert channels.prunable[0].order == (1, 2, 3, 0)


def test_equal_units_are_ranked_by_position():
    conv = nn.Conv2d(3, 4, 1, bias=False)
    nn.init.ones_(conv.weight)
    channels = _ordered(nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)))
    assert channels.prunable[0].order == (0, 1, 2, 3)


def test_a_filter_of_zeros_is_dropped_first_and_a_network_of_zeros_is_still_ranked():
    conv = nn.Conv2d(3, 3, 1, bias=False)
    nn.init.zeros_(conv.weight)
    layers = (conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5))
    assert _ordered(nn.Sequential(*layers)).prunable[0].order == (0, 1, 2)
    with torch.no_grad():
        conv.weight[1:] = 1.0
    assert _ordered(nn.Sequential(*layers)).prunable[0].order == (1, 2, 0)


def test_layers_of_different_scale_weigh_the_same():
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.loud, self.quiet = nn.Conv2d(3, 2, 1, bias=False), nn.Conv2d(3, 2, 1, bias=False)
            self.head = nn.Linear(2, 5)
            with torch.no_grad():
                # Squares over three inputs: loud 3 * (100^2, 90^2), share of the mean 1.10 and 0.90;
                # quiet 3 * (0.01^2, 0.03^2), share of the mean 0.2 and 1.8. Sums: 1.3 and 2.7.
                self.loud.weight.copy_(_column([100.0, 90.0]).expand(2, 3, 1, 1))
                self.quiet.weight.copy_(_column([0.01, 0.03]).expand(2, 3, 1, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head((self.loud(x) + self.quiet(x)).mean((2, 3)))

    assert _ordered(Sum()).prunable[0].order == (1, 0)


@every_network
def test_narrower_widths_keep_a_prefix_of_the_order(name):
    channels = rank_units(rebuilt(name), find_groups(rebuilt(name)))
    for group in channels.prunable:
        assert sorted(group.order) == list(range(group.units))
    for index, group in enumerate(channels.groups):
        if not group.prunable:
            continue
        width = max(1, group.units // 2)
        full = dict(channels.full_plan().widths)
        kept = channels.kept_units(Plan(widths=tuple((full | {group.name: width}).items())))
        members = np.flatnonzero(channels.group_of == index)
        positions = {int(channels.position_of[m]) for m in members if kept[m]}
        assert positions == set(group.order[:width])
        assert kept[np.setdiff1d(np.arange(len(kept)), members)].all()


def test_width_zero_is_no_plan():
    channels = find_groups(rebuilt("plain"))
    with pytest.raises(ValueError, match="at least 1"):
        Plan(widths=tuple((group.name, 0) for group in channels.prunable))
