"""The network with only the channels a plan keeps.

The same code serves the search, which slices thousands of candidates, and the final pruning, so that a candidate
and the network built from its plan are one and the same. Slicing copies weights only: the graph and its compiled
code are shared, nothing is traced again.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import fx, nn

from edgekd.errors import PruneError
from edgekd.models.layers import ChannelPad
from edgekd.prune.groups import ChannelMap
from edgekd.records import Plan

Index = npt.NDArray[np.int64]


def narrow(network: fx.GraphModule, channels: ChannelMap, plan: Plan) -> fx.GraphModule:
    """Return a new network with the channels that `plan` keeps; `network` is left as it was.

    Zeroing the dropped channels of `network` gives the same outputs.

    Raises:
        PruneError: The plan is for another network.
    """
    try:
        kept = channels.kept_units(plan)
    except ValueError as error:
        raise PruneError(
            f"plan {plan.id}",
            expected="one width for each prunable group of this network",
            found=str(error),
            hint="Use a plan that was searched for this model file.",
        ) from error
    replaced: dict[int, nn.Module] = {}
    for path, units in channels.inputs.items():
        module = network.get_submodule(path)
        inputs = np.flatnonzero(kept[units])
        outputs = np.flatnonzero(kept[channels.outputs[path]])
        if isinstance(module, ChannelPad):
            replaced[id(module)] = _narrow_pad(module, kept[channels.outputs[path]])
        else:
            replaced[id(module)] = _narrow_layer(module, inputs, outputs)
    return _with_modules(network, replaced)


def _with_modules(network: fx.GraphModule, replaced: dict[int, nn.Module]) -> fx.GraphModule:
    """Return a copy of the network that shares its graph and code, with some modules replaced.

    `copy.copy` of a GraphModule would compile its forward again, which takes longer than all the slicing, and
    even its `__new__` would make a class without one; hence `object.__new__`.
    """

    def copy(module: nn.Module) -> nn.Module:
        if id(module) in replaced:
            return replaced[id(module)]
        clone = object.__new__(type(module))
        clone.__dict__ = dict(module.__dict__)
        clone._modules = {name: copy(child) if child is not None else None for name, child in module._modules.items()}
        clone._parameters = {
            name: nn.Parameter(value.detach().clone(), requires_grad=value.requires_grad) if value is not None else None
            for name, value in module._parameters.items()
        }
        clone._buffers = {name: value.clone() if value is not None else None for name, value in module._buffers.items()}
        return clone

    clone = copy(network)
    assert isinstance(clone, fx.GraphModule)  # the root is never among the replaced layers
    return clone


def copy_network(network: fx.GraphModule) -> fx.GraphModule:
    """Return a copy with weights of its own that shares the graph and its compiled code."""
    return _with_modules(network, {})


def _take(tensor: torch.Tensor, index: Index, dimension: int = 0) -> torch.Tensor:
    if len(index) == tensor.shape[dimension]:
        return tensor.detach().clone()
    return tensor.detach().index_select(dimension, torch.from_numpy(index))


def _narrow_pad(module: ChannelPad, kept_outputs: npt.NDArray[np.bool_]) -> ChannelPad:
    front = int(kept_outputs[: module.front].sum())
    back = int(kept_outputs[len(kept_outputs) - module.back :].sum())
    return ChannelPad(front, back).train(module.training)


def _narrow_layer(module: nn.Module, inputs: Index, outputs: Index) -> nn.Module:
    """Return a layer of the same kind with those inputs and outputs."""
    if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
        return _narrow_batch_norm(module, outputs)
    clone = object.__new__(type(module))
    clone.__dict__ = dict(module.__dict__)
    clone._parameters = dict(module._parameters)
    weight = _take(module.get_parameter("weight"), outputs)
    if isinstance(clone, (nn.Conv1d, nn.Conv2d)):
        clone.in_channels, clone.out_channels = len(inputs), len(outputs)
        if module.groups == 1:
            weight = _take(weight, inputs, 1)
        elif module.groups == module.in_channels:
            clone.groups = len(inputs)
        else:
            # The kept positions are the same in every convolution group, so the first group's tell them all.
            positions = inputs[inputs < module.get_parameter("weight").shape[1]]
            weight = _take(weight, positions, 1)
    elif isinstance(clone, nn.Linear):
        clone.in_features, clone.out_features = len(inputs), len(outputs)
        weight = _take(weight, inputs, 1)
    clone._parameters["weight"] = nn.Parameter(weight)
    if clone._parameters.get("bias") is not None:
        clone._parameters["bias"] = nn.Parameter(_take(module.get_parameter("bias"), outputs))
    return clone


def _narrow_batch_norm(module: nn.BatchNorm1d | nn.BatchNorm2d, outputs: Index) -> nn.Module:
    clone = object.__new__(type(module))
    clone.__dict__ = dict(module.__dict__)
    clone.num_features = len(outputs)
    clone._parameters = {
        name: nn.Parameter(_take(value, outputs)) if value is not None else None
        for name, value in module._parameters.items()
    }
    clone._buffers = {
        name: value if value is None else (_take(value, outputs) if value.dim() else value.clone())
        for name, value in module._buffers.items()
    }
    return clone
