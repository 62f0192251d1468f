"""Pruning removes channels, and nothing else happens: for every network shape and any plan."""

from __future__ import annotations

import copy
import functools
import gc
import weakref

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from networks import CLASSES, INPUTS, NETWORKS, images, rebuilt
from torch import fx, nn

from edgekd.errors import PruneError
from edgekd.export.onnx.export import onnx_model
from edgekd.models.layers import ChannelPad
from edgekd.prune.groups import ChannelMap, find_groups
from edgekd.prune.importance import rank_units
from edgekd.prune.slicing import copy_network, narrow
from edgekd.records import Plan

SEEDS = range(4)
every_network = pytest.mark.parametrize("name", NETWORKS)
every_seed = pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"plan{seed}")


@functools.cache
def _channels(name: str) -> ChannelMap:
    return rank_units(rebuilt(name), find_groups(rebuilt(name)))


def _plan(channels: ChannelMap, seed: int) -> Plan:
    """The narrowest plan for seed 0, random ones otherwise."""
    generator = np.random.default_rng(seed)
    return Plan(
        widths=tuple(
            (group.name, 1 if seed == 0 else int(generator.integers(1, group.units + 1))) for group in channels.prunable
        )
    )


def _zeroed(network: fx.GraphModule, channels: ChannelMap, plan: Plan) -> fx.GraphModule:
    """The oracle: the whole network, with nothing coming out of the channels that the plan drops."""
    zeroed = copy.deepcopy(network)
    kept = channels.kept_units(plan)
    for path, module in zeroed.named_modules():
        if not isinstance(module, (nn.Conv2d, nn.Linear, nn.BatchNorm2d)):
            continue
        dropped = torch.from_numpy(~kept[channels.outputs[path]])
        with torch.no_grad():
            for tensor in (module.weight, module.bias, getattr(module, "running_mean", None)):
                if tensor is not None:
                    tensor[dropped] = 0.0
    return zeroed


def _tensors(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def _assert_same_tensors(network: nn.Module, before: dict[str, torch.Tensor]) -> None:
    after = network.state_dict()
    assert after.keys() == before.keys()
    for name, value in before.items():
        assert torch.equal(after[name], value), name


def _assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    scale = float(expected.abs().max())
    assert scale > 1e-3, "logits of zero would agree with anything"
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * scale)


@every_network
def test_there_is_something_to_prune_in_every_network(name):
    assert sum(group.units > 1 for group in _channels(name).prunable) >= 1


@every_network
@every_seed
def test_removing_channels_equals_zeroing_them(name, seed):
    network, channels = rebuilt(name), _channels(name)
    plan = _plan(channels, seed)
    x = images(8, seed)
    with torch.no_grad():
        _assert_close(narrow(network, channels, plan)(x), _zeroed(network, channels, plan)(x))


@every_network
def test_zeroing_changes_the_logits_so_that_equality_means_something(name):
    network, channels = rebuilt(name), _channels(name)
    x = images(8)
    with torch.no_grad():
        difference = (_zeroed(network, channels, _plan(channels, 0))(x) - network(x)).abs().max()
    assert difference > 1e-2


@every_network
def test_the_full_plan_gives_the_same_logits_bit_for_bit(name):
    network, channels = rebuilt(name), _channels(name)
    with torch.no_grad():
        assert torch.equal(narrow(network, channels, channels.full_plan())(images(4)), network(images(4)))


@every_network
@every_seed
def test_every_tensor_is_cut_to_the_count_that_its_groups_predict(name, seed):
    network, channels = rebuilt(name), _channels(name)
    plan = _plan(channels, seed)
    widths = dict(plan.widths)
    groups = [widths.get(group.name, group.units) if group.prunable else group.units for group in channels.groups]

    def count(units: np.ndarray) -> int:
        # A layer has the same number of channels in every unit of a group, so its share of the group's width.
        total = 0
        for group, channels_of_group in zip(*np.unique(channels.group_of[units], return_counts=True), strict=True):
            total += groups[group] * channels_of_group // channels.groups[group].units
        return int(total)

    seen = 0
    for path, module in narrow(network, channels, plan).named_modules():
        if path not in channels.outputs:
            continue
        seen += 1
        inputs, outputs = count(channels.inputs[path]), count(channels.outputs[path])
        if isinstance(module, nn.BatchNorm2d):
            assert module.num_features == outputs
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                assert tensor.shape == (outputs,)
        elif isinstance(module, nn.Conv2d):
            assert (module.in_channels, module.out_channels) == (inputs, outputs)
            assert module.weight.shape[:2] == (outputs, inputs // module.groups)
            assert module.bias is None or module.bias.shape == (outputs,)
        elif isinstance(module, nn.Linear):
            assert (module.in_features, module.out_features) == (inputs, outputs)
            assert module.weight.shape == (outputs, inputs)
            assert module.bias.shape == (outputs,)
        else:
            assert isinstance(module, ChannelPad)
            assert inputs + module.front + module.back == outputs
    kinds = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, ChannelPad)
    assert seen == sum(isinstance(module, kinds) for module in network.modules())


@every_network
def test_the_original_stays_as_it_was(name):
    network, channels = rebuilt(name), _channels(name)
    before = _tensors(network)
    modules = {path: repr(module) for path, module in network.named_modules() if path}
    code = network.code
    narrowed = narrow(network, channels, _plan(channels, 0))
    with torch.no_grad():
        for parameter in narrowed.parameters():
            parameter.add_(1.0)
        narrowed.train()(images(4))
    _assert_same_tensors(network, before)
    assert {path: repr(module) for path, module in network.named_modules() if path} == modules
    assert network.code == code
    assert not any(module.training for module in network.modules())


@every_network
@pytest.mark.parametrize("copied", [copy_network, copy.deepcopy], ids=["copy_network", "deepcopy"])
def test_a_copy_shares_no_memory_with_the_original(name, copied):
    network = rebuilt(name)
    memory = {tensor.data_ptr() for tensor in network.state_dict().values()}
    assert memory.isdisjoint(tensor.data_ptr() for tensor in copied(network).state_dict().values())


@every_network
def test_a_narrowed_network_shares_no_memory_with_the_original_even_where_it_is_whole(name):
    network, channels = rebuilt(name), _channels(name)
    memory = {tensor.data_ptr() for tensor in network.state_dict().values()}
    narrowed = narrow(network, channels, channels.full_plan())
    assert memory.isdisjoint(tensor.data_ptr() for tensor in narrowed.state_dict().values())


@every_network
def test_a_narrowed_network_trains(name):
    network, channels = rebuilt(name), _channels(name)
    narrowed = narrow(network, channels, _plan(channels, 1)).train()
    x, y = images(16), torch.arange(16) % CLASSES
    before = _tensors(narrowed)
    loss = F.cross_entropy(narrowed(x), y)
    loss.backward()
    for path, parameter in narrowed.named_parameters():
        assert parameter.grad is not None, path
        assert torch.isfinite(parameter.grad).all(), path
    with torch.no_grad():
        for parameter in narrowed.parameters():
            parameter -= 1e-3 * parameter.grad
    norms = [path for path, module in narrowed.named_modules() if isinstance(module, nn.BatchNorm2d)]
    after = narrowed.state_dict()
    assert all(not torch.equal(after[f"{path}.running_mean"], before[f"{path}.running_mean"]) for path in norms)
    with torch.no_grad():
        assert F.cross_entropy(narrowed(x), y) < loss


@every_network
def test_a_narrowed_network_computes_the_same_in_onnxruntime(name):
    network, channels = rebuilt(name), _channels(name)
    narrowed = narrow(network, channels, _plan(channels, 2))
    model = onnx_model(narrowed, precision="fp32", inputs=INPUTS)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = images(8)
    with torch.no_grad():
        _assert_close(torch.from_numpy(session.run(None, {"input": x.numpy()})[0]), narrowed(x))


@every_network
def test_fifty_narrowed_networks_leave_nothing_behind(name):
    network, channels = rebuilt(name), _channels(name)
    alive = []
    for seed in range(50):
        narrowed = narrow(network, channels, _plan(channels, seed % 4))
        alive += [weakref.ref(thing) for thing in (narrowed, *narrowed.modules(), *narrowed.parameters())]
    del narrowed
    gc.collect()
    assert not any(reference() is not None for reference in alive)


@every_network
def test_a_plan_for_another_network_is_refused(name):
    network, channels = rebuilt(name), _channels(name)
    other = Plan(widths=(("nowhere", 1),))
    with pytest.raises(PruneError, match="its groups differ") as caught:
        narrow(network, channels, other)
    assert other.id in caught.value.where
    assert "searched for this model file" in caught.value.hint
    (first, units), *others = channels.full_plan().widths
    with pytest.raises(PruneError, match=f"width of '{first}' must be 1 to {units}, not {units + 1}"):
        narrow(network, channels, Plan(widths=((first, units + 1), *others)))


@every_seed
def test_wider_plans_keep_what_narrower_ones_keep(seed):
    channels = _channels("padded")
    narrower = _plan(channels, seed)
    wider = Plan(widths=tuple((g.name, min(g.units, dict(narrower.widths)[g.name] + 2)) for g in channels.prunable))
    assert not (channels.kept_units(narrower) & ~channels.kept_units(wider)).any()
