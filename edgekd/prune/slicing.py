"""The network with only the channels a plan keeps.

The same code serves the search, which slices thousands of candidates, and the final pruning, so that a candidate
and the network built from its plan are one and the same. Slicing copies weights only: the graph and its compiled
code are shared, nothing is traced again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import fx, nn

from edgekd.errors import PruneError
from edgekd.models.layers import ChannelPad, ChannelShuffle, Reshape, Slice
from edgekd.prune.groups import ChannelMap
from edgekd.prune.rules.layers import CONVOLUTIONS, TRANSPOSED
from edgekd.records import Plan

Mask = npt.NDArray[np.bool_]


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
    modules: dict[int, nn.Module] = {}
    tensors: dict[str, torch.Tensor] = {}
    for path, units in channels.outputs.items():
        if not is_layer(network, path):
            tensors[path] = _narrow_stored(stored_tensor(network, path), kept[units])
            continue
        module = network.get_submodule(path)
        modules[id(module)] = _NARROW[type(module)](module, kept[channels.inputs[path]], kept[units])
    return _with_modules(network, modules, tensors)


def copy_network(network: fx.GraphModule) -> fx.GraphModule:
    """Return a copy with weights of its own that shares the graph and its compiled code."""
    return _with_modules(network, {}, {})


def is_layer(network: nn.Module, path: str) -> bool:
    """Say whether a path of a `ChannelMap` is that of a layer, and not of a stored tensor outside of any."""
    parent, _, name = path.rpartition(".")
    return name in network.get_submodule(parent)._modules


def stored_tensor(network: nn.Module, path: str) -> torch.Tensor:
    """Return the parameter or buffer at a path."""
    parent, _, name = path.rpartition(".")
    tensor: torch.Tensor = getattr(network.get_submodule(parent), name)
    return tensor


def _with_modules(
    network: fx.GraphModule, modules: Mapping[int, nn.Module], tensors: Mapping[str, torch.Tensor]
) -> fx.GraphModule:
    """Return a copy of the network that shares its graph and code, with some modules and stored tensors replaced.

    `copy.copy` of a GraphModule would compile its forward again, which takes longer than all the slicing, and
    even its `__new__` would make a class without one; hence `object.__new__`.
    """

    def copy(module: nn.Module, prefix: str) -> Any:
        if id(module) in modules:
            return modules[id(module)]
        clone = object.__new__(type(module))
        clone.__dict__ = dict(module.__dict__)
        clone._modules = {
            name: copy(child, f"{prefix}{name}.") if child is not None else None
            for name, child in module._modules.items()
        }
        clone._parameters = {
            name: None if value is None else _parameter(tensors.get(prefix + name, value), value)
            for name, value in module._parameters.items()
        }
        clone._buffers = {
            name: None if value is None else tensors.get(prefix + name, value).clone()
            for name, value in module._buffers.items()
        }
        return clone

    clone = copy(network, "")
    assert isinstance(clone, fx.GraphModule)  # the root is never among the replaced layers
    return clone


def _parameter(value: torch.Tensor, original: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(_own(value, original), requires_grad=original.requires_grad)


def _own(value: torch.Tensor, original: torch.Tensor) -> torch.Tensor:
    """Copy what was taken whole, which is the original itself; parts are copies already."""
    value = value.detach()
    return value.clone() if value.data_ptr() == original.data_ptr() else value


def _take(tensor: torch.Tensor, mask: Mask, axis: int = 0) -> torch.Tensor:
    """Return the kept places along an axis; the tensor itself where all are kept."""
    if mask.all():
        return tensor
    return tensor.detach().index_select(axis, torch.from_numpy(np.flatnonzero(mask)))


def _along(mask: Mask, axis: int) -> Mask:
    """Which places along one axis are kept: the mask is the same product along all others."""
    others = tuple(other for other in range(mask.ndim) if other != axis)
    return np.asarray(mask.any(axis=others))


def _narrow_stored(tensor: torch.Tensor, mask: Mask) -> torch.Tensor:
    for axis, size in enumerate(mask.shape):
        if size > 1:
            tensor = _take(tensor, _along(mask, axis), axis)
    return tensor


def _clone(module: nn.Module, **changed: Any) -> Any:
    clone = object.__new__(type(module))
    clone.__dict__ = dict(module.__dict__) | changed
    clone._parameters = dict(module._parameters)
    clone._buffers = dict(module._buffers)
    return clone


def _set(clone: nn.Module, name: str, value: torch.Tensor) -> None:
    clone._parameters[name] = _parameter(value, clone.get_parameter(name))


def _narrow_convolution(module: Any, inputs: Mask, outputs: Mask) -> Any:
    clone = _clone(module, in_channels=int(inputs.sum()), out_channels=int(outputs.sum()))
    first, second = (inputs, outputs) if isinstance(module, TRANSPOSED) else (outputs, inputs)
    weight = _take(module.weight, first)
    if module.groups == 1:
        weight = _take(weight, second, 1)
    elif module.groups == module.in_channels:
        clone.groups = clone.in_channels
    else:
        # The kept positions are the same in every convolution group, so the first group's tell them all.
        weight = _take(weight, second[: weight.shape[1]], 1)
    _set(clone, "weight", weight)
    if module.bias is not None:
        _set(clone, "bias", _take(module.bias, outputs))
    return clone


def _narrow_linear(module: Any, inputs: Mask, outputs: Mask) -> Any:
    clone = _clone(module, in_features=int(inputs.sum()), out_features=int(outputs.sum()))
    _set(clone, "weight", _take(_take(module.weight, outputs), inputs, 1))
    if module.bias is not None:
        _set(clone, "bias", _take(module.bias, outputs))
    return clone


def _narrow_embedding(module: Any, _inputs: Mask, outputs: Mask) -> Any:
    clone = _clone(module, embedding_dim=int(outputs.sum()))
    _set(clone, "weight", _take(module.weight, outputs, 1))
    return clone


def _narrow_norm(module: Any, _inputs: Mask, outputs: Mask) -> Any:
    """Batch, instance and group norm and PReLU have a value for each channel in all they store."""
    kept = int(outputs.sum())
    changed: dict[str, Any] = {name: kept for name in _CHANNEL_COUNTS if name in module.__dict__}
    if isinstance(module, nn.GroupNorm):
        changed["num_groups"] = module.num_groups * kept // len(outputs)
    clone = _clone(module, **changed)
    for name, value in module._parameters.items():
        if value is not None:
            _set(clone, name, _take(value, outputs))
    for name, value in module._buffers.items():
        if value is not None:
            clone._buffers[name] = _own(_take(value, outputs), value) if value.dim() else value.clone()
    return clone


_CHANNEL_COUNTS = ("num_features", "num_channels", "num_parameters")


def _narrow_pad(module: Any, _inputs: Mask, outputs: Mask) -> Any:
    front, back = outputs[: module.front].sum(), outputs[len(outputs) - module.back :].sum()
    return _clone(module, front=int(front), back=int(back))


def _narrow_slice(module: Any, inputs: Mask, _outputs: Mask) -> Any:
    kept = _along(inputs, module.axis)
    start, stop = int(kept[: module.start].sum()), int(kept[: module.stop].sum())
    return _clone(module, start=start, stop=stop)


def _narrow_reshape(module: Any, _inputs: Mask, outputs: Mask) -> Any:
    sizes = tuple(
        int(_along(outputs, axis).sum()) if outputs.shape[axis] > 1 else size for axis, size in enumerate(module.sizes)
    )
    return _clone(module, sizes=sizes)


def _narrow_shuffle(module: Any, inputs: Mask, outputs: Mask) -> Any:
    clone = _clone(module)
    places = torch.from_numpy(np.cumsum(inputs) - 1)
    clone._buffers["order"] = places[_take(module.order, outputs)]
    return clone


_NARROW: dict[type[nn.Module], Callable[[nn.Module, Mask, Mask], nn.Module]] = {
    **dict.fromkeys(CONVOLUTIONS, _narrow_convolution),
    nn.Linear: _narrow_linear,
    nn.Embedding: _narrow_embedding,
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.InstanceNorm1d, nn.InstanceNorm2d), _narrow_norm),
    **dict.fromkeys((nn.GroupNorm, nn.PReLU), _narrow_norm),
    ChannelPad: _narrow_pad,
    Slice: _narrow_slice,
    Reshape: _narrow_reshape,
    ChannelShuffle: _narrow_shuffle,
}
