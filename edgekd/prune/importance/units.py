"""The weights of a network by the channels they make or read, and sums of them by unit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import fx, nn

from edgekd.prune.groups import ChannelMap
from edgekd.prune.rules.layers import TRANSPOSED
from edgekd.prune.slicing import is_layer, stored_tensor
from edgekd.prune.tracer import Ids

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Producer:
    """A layer, or a stored tensor of none, with the channels it makes.

    Attributes:
        path: Its place in the network.
        module: The layer; `None` for a stored tensor.
        units: The unit of each channel it makes, `[channels]`.
        shape: The shape its channels have in a stored tensor; of a layer, `(channels,)`.
        tensors: Its own tensors that hold values for each channel: weight and bias of a layer.
    """

    path: str
    module: nn.Module | None
    units: Ids
    shape: tuple[int, ...]
    tensors: tuple[torch.Tensor, ...]

    @property
    def is_norm(self) -> bool:
        """Whether it only scales and shifts channels that another layer makes."""
        return isinstance(self.module, _NORMS)

    @property
    def weight(self) -> torch.Tensor:
        """The weights of each channel without its bias, float64 `[channels, values]`."""
        return self.rows(self.tensors[0].detach().double())

    def rows(self, values: torch.Tensor) -> torch.Tensor:
        """Return values of the shape of one of `tensors` by channel, `[channels, values]`."""
        if self.module is None:
            wide = [axis for axis, size in enumerate(self.shape) if size > 1]
            others = [axis for axis in range(values.dim()) if axis not in wide]
            return values.permute(*wide, *others).reshape(len(self.units), -1)
        if values.dim() > 1 and isinstance(self.module, TRANSPOSED):
            # Outputs are in the second axis, those of one group after the other.
            by_group = values.reshape(self.module.groups, -1, *values.shape[1:])
            return by_group.transpose(1, 2).flatten(0, 1).flatten(1)
        if isinstance(self.module, nn.Embedding):
            return values.T
        return values.reshape(len(self.units), -1)


_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d)


def producers(network: fx.GraphModule, channels: ChannelMap) -> Iterator[Producer]:
    """Yield everything that makes channels and has values of its own for each."""
    for path, units in channels.outputs.items():
        module = network.get_submodule(path) if is_layer(network, path) else None
        owned = module._parameters.values() if module is not None else (stored_tensor(network, path),)
        tensors = tuple(tensor for tensor in owned if tensor is not None and tensor.is_floating_point())
        if tensors:
            yield Producer(path=path, module=module, units=units.ravel(), shape=units.shape, tensors=tensors)


def sum_by_unit(channels: ChannelMap, units: Ids, values: torch.Tensor | Floats) -> Floats:
    """Return the sum of one value a channel over the channels of each unit, `[units]`."""
    weights = np.asarray(values, dtype=np.float64)
    return np.bincount(units, weights, minlength=len(channels.group_of)).astype(np.float64)


def add_up(channels: ChannelMap, layers: Iterable[tuple[Ids, Floats]]) -> Floats:
    """Return the sum over layers of one value a unit, each layer's divided by its mean over the units it has.

    So layers of different scale weigh the same.

    Args:
        channels: The groups.
        layers: For each layer the units of its channels, and its values `[units]`.
    """
    total = np.zeros(len(channels.group_of))
    for units, values in layers:
        mean = values[np.unique(units)].mean()
        if mean > 0:
            total += values / mean
    return total
