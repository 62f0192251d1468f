"""The widths a search may choose from, and the network's costs for a whole population of them."""

from __future__ import annotations

import dataclasses
import math
import operator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import fx, nn

from edgekd.hardware.cost import Operators
from edgekd.models.layers import ChannelShuffle
from edgekd.prune.groups import ChannelMap
from edgekd.prune.rules.layers import CONVOLUTIONS, POINTWISE, POOLS, TRANSPOSED
from edgekd.prune.slicing import stored_tensor
from edgekd.prune.tracer import Ids
from edgekd.records import Plan

Widths = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthSpace:
    """One whole number, a gene, for each group, or for groups that are tied: its position among their widths.

    Attributes:
        names: The groups.
        choices: For each gene the widths of its first group, ascending; the last is full.
        gene_of: For each group the gene that decides its width; by default its own.
        group_choices: For each group its width at each position of its gene; by default the gene's `choices`.
    """

    names: tuple[str, ...]
    choices: tuple[tuple[int, ...], ...]
    gene_of: tuple[int, ...] = ()
    group_choices: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "gene_of", self.gene_of or tuple(range(len(self.names))))
        object.__setattr__(self, "group_choices", self.group_choices or self.choices)

    def widths(self, genes: npt.NDArray[np.int64]) -> Widths:
        """Return the widths `[plans, groups]` that genes `[plans, genes]` stand for."""
        pairs = zip(self.gene_of, self.group_choices, strict=True)
        return np.stack([np.asarray(choices)[genes[:, gene]] for gene, choices in pairs], axis=1)

    def plan(self, widths: npt.NDArray[np.int64]) -> Plan:
        """Return the plan with these widths, `[groups]`."""
        return Plan(widths=tuple(zip(self.names, (int(w) for w in widths), strict=True)))

    def uniform(self, ratio: float) -> npt.NDArray[np.int64]:
        """Return the genes of the widths nearest to `ratio` of the full ones, `[genes]`."""
        return np.array([int(np.argmin([abs(w - ratio * c[-1]) for w in c])) for c in self.choices])


def width_space(channels: ChannelMap, multiple: int) -> WidthSpace:
    """Return the space in steps of the target's channel multiple; a group of fewer units stays whole.

    A unit of `k` channels per layer (as in grouped convolutions) needs steps of only `multiple / gcd(multiple, k)`.
    """
    choices = []
    for index, group in enumerate(channels.prunable):
        # Every layer that makes these channels gets a multiple.
        step = math.lcm(*(multiple // math.gcd(multiple, count) for count in _channels_per_unit(channels, index)))
        choices.append((*range(step, group.units, step), group.units))
    return WidthSpace(names=tuple(g.name for g in channels.prunable), choices=tuple(choices))


def _channels_per_unit(channels: ChannelMap, index: int) -> list[int]:
    """Return for each layer that makes a group's channels how many of them a unit is."""
    group = channels.groups[index]
    made = [channels.outputs[m.removesuffix(".out")] for m in group.members if m.endswith(".out")]
    return [int((channels.group_of[units] == index).sum()) // group.units for units in made]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelCount:
    """A number of channels as `fixed + widths @ per_width`."""

    fixed: int
    per_width: npt.NDArray[np.int64]

    def of(self, widths: Widths) -> npt.NDArray[np.int64]:
        """Return the number in each plan, `[plans]`."""
        counts: npt.NDArray[np.int64] = self.fixed + widths @ self.per_width
        return counts


def count_operators(network: fx.GraphModule, channels: ChannelMap, widths: Widths) -> Operators:
    """Return the operators of the network under each row of `widths` `[plans, prunable groups]`.

    Activations and the batch norm behind a layer are left out: every runtime fuses them into the operator before.
    """
    rows = [row for node in network.graph.nodes if (row := _row(network, channels, node)) is not None]
    return Operators(
        names=tuple(row.name for row in rows),
        op=tuple(row.op for row in rows),
        kernel_area=np.array([row.kernel for row in rows]),
        stride=np.array([row.stride for row in rows]),
        groups=np.array([row.groups for row in rows]),
        in_pixels=np.array([row.pixels[0] for row in rows]),
        out_pixels=np.array([row.pixels[1] for row in rows]),
        inputs=np.array([row.inputs for row in rows]),
        in_channels=np.stack([row.read.of(widths) for row in rows], axis=1),
        out_channels=np.stack([row.made.of(widths) for row in rows], axis=1),
        repeats=_repeats(network, [row.name for row in rows]),
        variant=tuple(row.variant for row in rows),
    )


def _repeats(network: fx.GraphModule, names: list[str]) -> npt.NDArray[np.bool_]:
    """Whether each operator calls a layer that an earlier one has called."""
    targets = {node.name: str(node.target) for node in network.graph.nodes if node.op in ("call_module", "get_attr")}
    called = [targets.get(name, name) for name in names]
    return np.array([target in called[:index] for index, target in enumerate(called)])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One operator: channels it reads and makes, and pixels of both sides."""

    name: str
    op: str
    read: ChannelCount
    made: ChannelCount
    pixels: tuple[int, int]
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    inputs: int = 1
    variant: str = ""


def _row(network: fx.GraphModule, channels: ChannelMap, node: fx.Node) -> _Row | None:
    made = count_channels(channels, channels.nodes[node.name]) if node.name in channels.nodes else None
    if made is None or node.op in ("placeholder", "output"):
        return None
    pixels = _pixels(channels, node)
    if node.op == "get_attr":
        return _stored(network, channels, node, made)
    module = network.get_submodule(str(node.target)) if node.op == "call_module" else None
    values = _values_per_channel(network, node, module)
    if values:
        return _Row(name=node.name, op="scale", read=made, made=made, pixels=(pixels, pixels), kernel=values)
    sources = [source for source in node.all_input_nodes if source.name in channels.nodes]
    if isinstance(module, FUSED) or not sources:
        return None
    if node.target in (torch.matmul, F.scaled_dot_product_attention):
        return _product(channels, node, made, pixels)
    # A sum reads the same channels from each input; a concatenation reads all of them once.
    together = sources if node.target is torch.cat else sources[:1]
    parts = [np.ravel(channels.nodes[source.name]) for source in together]
    read, size = np.concatenate(parts), _pixels(channels, sources[0])
    if isinstance(module, (*CONVOLUTIONS, nn.Linear)):
        # A layer has as many inputs as its weights say, also where channels before it are not followed.
        read = channels.inputs[str(node.target)]
        size = size * channels.nodes[sources[0].name].size // len(read)
    base = _Row(
        name=node.name,
        op="other",
        read=count_channels(channels, read),
        made=made,
        pixels=(size, pixels),
        variant="curved" if _is_curved(network, node) else "",
    )
    if isinstance(module, CONVOLUTIONS):
        is_depthwise = module.groups > 1 and module.groups == module.in_channels
        op = "depthwise" if is_depthwise else "transposed" if isinstance(module, TRANSPOSED) else "conv"
        kernel = int(np.prod(module.kernel_size))
        return dataclasses.replace(base, op=op, kernel=kernel, stride=module.stride[0], groups=module.groups)
    if isinstance(module, nn.Linear):
        return dataclasses.replace(base, op="linear")
    if isinstance(module, ChannelShuffle):
        return dataclasses.replace(base, op="order")
    if isinstance(module, POOLS):
        kernel = max(1, base.pixels[0] // max(1, pixels))
        variant = "max" if isinstance(module, (nn.MaxPool1d, nn.MaxPool2d)) else ""
        return dataclasses.replace(base, op="pool", kernel=kernel, variant=variant)
    if node.target in (operator.add, operator.mul, operator.sub):
        variant = "product" if node.target is operator.mul else base.variant
        return dataclasses.replace(base, op="add", inputs=len(sources), variant=variant)
    return base


def _is_curved(network: fx.GraphModule, node: fx.Node) -> bool:
    """Whether the activation behind an operator, with batch norm between them or not, is another than a ReLU."""
    for user in node.users:
        module = network.get_submodule(str(user.target)) if user.op == "call_module" else None
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            return _is_curved(network, user)
        if isinstance(module, POINTWISE) and not isinstance(module, _CLIPPING):
            return True
    return False


def _stored(network: fx.GraphModule, channels: ChannelMap, node: fx.Node, made: ChannelCount) -> _Row:
    """A stored tensor outside of any layer: its values for each channel."""
    values = stored_tensor(network, str(node.target)).numel() // channels.nodes[node.name].size
    return _Row(name=node.name, op="scale", read=made, made=made, pixels=(0, 0), kernel=values)


def _values_per_channel(network: fx.GraphModule, node: fx.Node, module: nn.Module | None) -> int:
    """How many stored values a norm, PReLU or embedding has for each channel; 0 where they are folded or none."""
    if isinstance(module, nn.Embedding):
        return module.num_embeddings
    if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
        source = node.all_input_nodes[0]
        before = network.get_submodule(str(source.target)) if source.op == "call_module" else None
        is_folded = isinstance(before, (*CONVOLUTIONS, nn.Linear)) and len(source.users) == 1
        return 0 if is_folded else 4
    if isinstance(module, (nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.LayerNorm)):
        return sum(parameter is not None for parameter in module._parameters.values())
    if isinstance(module, nn.PReLU) and module.num_parameters > 1:
        return 1
    return 0


def _product(channels: ChannelMap, node: fx.Node, made: ChannelCount, pixels: int) -> _Row:
    """A matrix product; attention is two of the same size, of which the second sums over the keys."""
    first, second = node.all_input_nodes[:2]
    is_attention = node.target is F.scaled_dot_product_attention
    inner = second.meta["shape"][-2] if is_attention else first.meta["shape"][-1]
    ids = channels.nodes[first.name]
    along = ids[(0,) * (ids.ndim - 1)]
    summed = ChannelCount(fixed=int(inner or 1), per_width=np.zeros(len(channels.prunable), dtype=np.int64))
    if not is_attention and len(np.unique(along)) > 1:
        summed = count_channels(channels, along)
    elements = [int(np.prod([size or 1 for size in tensor.meta["shape"]])) for tensor in (first, second)]
    kernel = 2 if is_attention else 1
    read = sum(elements) // int(inner or 1)
    return _Row(name=node.name, op="matmul", read=summed, made=made, pixels=(read, pixels), kernel=kernel)


# Activations that cut values off, which every runtime does in the operator before; and what is gone in a file.
_CLIPPING = (nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.Dropout)
FUSED = (*POINTWISE, nn.BatchNorm1d, nn.BatchNorm2d, nn.PReLU)


def _pixels(channels: ChannelMap, node: fx.Node) -> int:
    """The places of one channel: the tensor's size without the batch, divided by its channels."""
    shape = node.meta.get("shape") or ()
    size = int(np.prod([size for size in shape[1:] if size is not None], dtype=np.int64))
    return max(1, size // channels.nodes[node.name].size)


def count_channels(channels: ChannelMap, units: Ids) -> ChannelCount:
    """Return how many of these units there are for any widths."""
    units = np.ravel(units)
    prunable = len(channels.prunable)
    per_group = np.bincount(channels.group_of[units], minlength=len(channels.groups))
    sizes = np.array([group.units for group in channels.prunable], dtype=np.int64)
    return ChannelCount(fixed=int(per_group[prunable:].sum()), per_width=per_group[:prunable] // sizes)
