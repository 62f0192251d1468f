"""The networks of the zoo as the library sees them: rebuilt, grouped, narrowed; and what does not work yet.

Everything cached here is made once for all tests, none of which may change it.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import fx, nn

from edgekd.models.layers import ChannelPad
from edgekd.models.rewrite import rebuild
from edgekd.prune.groups import ChannelMap, find_groups
from edgekd.prune.importance import rank_units
from edgekd.prune.slicing import narrow
from edgekd.records import Plan
from zoo import NETWORKS, program
from zoo.adapter import flat, unit_axis

# The checks of `tests/conformance/test_networks.py`, by the letter under which docs/networks.md reports them.
CHECKS: dict[str, tuple[str, ...]] = {
    "a": ("rebuilt", "zeroing"),
    "b": ("tensors",),
    "c": ("training", "reload", "onnx", "quantization", "qdq"),
    "d": ("costs", "size"),
    "e": ("widths",),
    "f": ("memory",),
}

# What should work and does not: a network, or `network/check`. Each must fail, or it does not belong here any more.
NOT_YET: dict[str, str] = {}


def not_yet(name: str, check: str) -> str | None:
    """Return why a check does not pass for a network yet, or None if it should."""
    return NOT_YET.get(name) or NOT_YET.get(f"{name}/{check}")


@functools.cache
def rebuilt(name: str) -> fx.GraphModule:
    """Return the network as real modules."""
    return rebuild(program(name))


@functools.cache
def channels_of(name: str) -> ChannelMap:
    """Return the network's ranked groups."""
    return rank_units(rebuilt(name), find_groups(rebuilt(name)))


def inputs_of(name: str, batch: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Return example inputs as the rebuilt network takes them."""
    return flat(NETWORKS[name].example_inputs(batch, seed))


def plan_of(name: str, seed: int) -> Plan:
    """Return the narrowest plan for seed 0, half of every group for seed 1, random plans otherwise."""
    generator = np.random.default_rng(seed)
    fixed = {0: lambda units: 1, 1: lambda units: (units + 1) // 2}
    width = fixed.get(seed, lambda units: int(generator.integers(1, units + 1)))
    return Plan(widths=tuple((group.name, width(group.units)) for group in channels_of(name).prunable))


def narrowed(name: str, seed: int) -> fx.GraphModule:
    """Return a new narrowed network."""
    return narrow(rebuilt(name), channels_of(name), plan_of(name, seed))


def count(channels: ChannelMap, plan: Plan, units: np.ndarray) -> int:
    """Return how many of these channels the plan leaves.

    A layer has the same number of channels in every unit of a group, so its share of the group's width.
    """
    widths = dict(plan.widths)
    total = 0
    numbers, counts = np.unique(channels.group_of[unit_axis(units)], return_counts=True)
    for index, channels_of_group in zip(numbers, counts, strict=True):
        group = channels.groups[index]
        width = widths[group.name] if group.prunable else group.units
        total += width * int(channels_of_group) // group.units
    return total


def predicted_shapes(name: str, plan: Plan) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of the network that the plan makes, from counts of channels alone."""
    network, channels = rebuilt(name), channels_of(name)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    modules = dict(network.named_modules())
    for path, units in channels.outputs.items():
        outputs = count(channels, plan, units)
        inputs = count(channels, plan, channels.inputs[path]) if path in channels.inputs else 0
        module = modules.get(path)
        if module is None:
            whole = len(unit_axis(units))
            shapes[path] = tuple(outputs if size == whole else size for size in shapes[path])
        elif not isinstance(module, ChannelPad):
            owned = {key: shape for key, shape in shapes.items() if key.rpartition(".")[0] == path}
            shapes |= {key: _layer_shape(module, key, shape, inputs, outputs) for key, shape in owned.items()}
    return shapes


def _layer_shape(module: nn.Module, key: str, shape: tuple[int, ...], inputs: int, outputs: int) -> tuple[int, ...]:
    if not key.endswith(".weight"):
        return (outputs,) if shape else shape
    if isinstance(module, (nn.ConvTranspose1d, nn.ConvTranspose2d)):
        is_depthwise = module.groups > 1 and module.groups == module.in_channels
        return (inputs, outputs // (inputs if is_depthwise else module.groups), *shape[2:])
    if isinstance(module, (nn.Conv1d, nn.Conv2d)):
        is_depthwise = module.groups > 1 and module.groups == module.in_channels
        return (outputs, 1 if is_depthwise else inputs // module.groups, *shape[2:])
    if isinstance(module, nn.Linear):
        return (outputs, inputs)
    if isinstance(module, nn.Embedding):
        return (shape[0], outputs)
    if isinstance(module, nn.PReLU) and shape == (1,):
        return shape
    return (outputs,)


def prunable_share(name: str) -> float:
    """Return the share of the parameters that touch a channel of a prunable group, in [0, 1]."""
    network, channels = rebuilt(name), channels_of(name)
    is_prunable = np.array([group.prunable for group in channels.groups])[channels.group_of]
    touched, total = 0.0, 0
    for key, parameter in network.named_parameters():
        total += parameter.numel()
        path = key if key in channels.outputs else key.rpartition(".")[0]
        if path not in channels.outputs:
            continue
        fixed = 1.0 - float(is_prunable[unit_axis(channels.outputs[path])].mean())
        is_depthwise = getattr(network.get_submodule(path), "groups", 1) > 1 if path != key else True
        if parameter.dim() > 1 and not is_depthwise and channels.inputs.get(path, np.zeros(0)).size:
            fixed *= 1.0 - float(is_prunable[unit_axis(channels.inputs[path])].mean())
        touched += parameter.numel() * (1.0 - fixed)
    return touched / total
