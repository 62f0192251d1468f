"""Find the channels that live and die together.

Every channel of every tensor gets an identity, and the network's arithmetic ties identities: a residual add ties
channel `c` of both inputs, a concatenation lays identities side by side, zero padding of channels shifts them, a
grouped convolution ties the same position of each of its groups. What is tied forms a *unit*; units that touch the
same layers in the same way are interchangeable and form a `ChannelGroup`. Operators not listed here tie nothing but
*fix* the channels that reach them, so a network with unknown parts is pruned around them, never through them.

Why not torch-pruning's dependency graph: it couples layers whole, one index list at a time, and so turns a CIFAR
ResNet with padding shortcuts into a network that crashes, raises on channel shuffles and takes minutes on dense
concatenations (measured, see docs/decisions.md). Identities per channel need no special case for any of them. It
stays as an oracle in the tests, for the networks it handles.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import fx, nn

from edgekd.models.layers import ChannelPad
from edgekd.records import ChannelGroup, Plan

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelMap:
    """Which unit each channel of a network belongs to.

    Attributes:
        groups: The prunable groups first, in the order of the network, then the fixed ones with their reason.
        inputs: For each layer, the unit number of each of its input channels (or features).
        outputs: For each layer, the unit number of each of its output channels.
        nodes: For each node of the graph, the unit number of each channel of its output.
        group_of: For each unit number, the index of its group in `groups`.
        position_of: For each unit number, its position among the units of its group.
    """

    groups: tuple[ChannelGroup, ...]
    inputs: Mapping[str, Ids]
    outputs: Mapping[str, Ids]
    nodes: Mapping[str, Ids]
    group_of: Ids
    position_of: Ids

    @property
    def prunable(self) -> tuple[ChannelGroup, ...]:
        """The groups whose width may be chosen."""
        return tuple(group for group in self.groups if group.prunable)

    def full_plan(self) -> Plan:
        """The plan that drops nothing."""
        return Plan(widths=tuple((group.name, group.units) for group in self.prunable))

    def kept_units(self, plan: Plan) -> npt.NDArray[np.bool_]:
        """Return for each unit number whether the plan keeps it.

        Raises:
            ValueError: The plan does not name exactly the prunable groups, or a width is out of range.
        """
        widths = dict(plan.widths)
        if set(widths) != {group.name for group in self.prunable}:
            raise ValueError("the plan is for another network: its groups differ")
        kept = np.ones(len(self.group_of), dtype=np.bool_)
        for index, group in enumerate(self.groups):
            if not group.prunable:
                continue
            width = widths[group.name]
            if not 1 <= width <= group.units:
                raise ValueError(f"width of '{group.name}' must be 1 to {group.units}, not {width}")
            order = group.order or tuple(range(group.units))
            alive = np.zeros(group.units, dtype=np.bool_)
            alive[list(order[:width])] = True
            members = self.group_of == index
            kept[members] = alive[self.position_of[members]]
        return kept


def find_groups(network: fx.GraphModule) -> ChannelMap:
    """Return the channel groups of a rebuilt network (see `edgekd.models.rewrite`)."""
    tracer = _Tracer(network)
    for node in network.graph.nodes:
        tracer.visit(node)
    return tracer.finish()


class _Tracer:
    """A union-find over channel identities, filled by one pass over the graph."""

    def __init__(self, network: fx.GraphModule) -> None:
        self.network = network
        self.parent: list[int] = []
        self.reasons: dict[int, str] = {}
        self.channels: dict[fx.Node, Ids] = {}
        self.inputs: dict[str, Ids] = {}
        self.outputs: dict[str, Ids] = {}

    def fresh(self, count: int) -> Ids:
        first = len(self.parent)
        self.parent.extend(range(first, first + count))
        return np.arange(first, first + count)

    def find(self, channel: int) -> int:
        while self.parent[channel] != channel:
            self.parent[channel] = self.parent[self.parent[channel]]
            channel = self.parent[channel]
        return channel

    def tie(self, first: Ids, second: Ids) -> None:
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            low, high = sorted((self.find(a), self.find(b)))
            self.parent[high] = low

    def fix(self, ids: Ids, reason: str) -> None:
        for channel in ids.tolist():
            self.reasons.setdefault(channel, reason)

    def visit(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self.channels[node] = self.fresh(node.meta["shape"][1])
            self.fix(self.channels[node], "the network's input")
        elif node.op == "output":
            for used in node.all_input_nodes:
                self.fix(self.channels[used], "the network's output")
        else:
            rule = self._rule(node)
            result = rule(self, node) if rule else None
            self.channels[node] = result if result is not None else self._unknown(node)

    def _rule(self, node: fx.Node) -> Callable[[_Tracer, fx.Node], Ids | None] | None:
        if node.op == "call_module":
            return _MODULE_RULES.get(type(self.network.get_submodule(str(node.target))))
        return _FUNCTION_RULES.get(node.target)

    def _unknown(self, node: fx.Node) -> Ids:
        reason = f"used by '{node.name}' ({_operator_name(self.network, node)}), which is not followed"
        for used in node.all_input_nodes:
            if used in self.channels:
                self.fix(self.channels[used], reason)
        shape: tuple[Any, ...] = node.meta.get("shape", ())
        count = shape[1] if len(shape) > 1 and isinstance(shape[1], int) else 0
        result = self.fresh(count)
        self.fix(result, reason)
        return result

    def layer(self, node: fx.Node, inputs: Ids, outputs: Ids) -> Ids:
        """Record a layer's channels; a layer called twice has the same channels both times."""
        path = str(node.target)
        for known, ids in ((self.inputs, inputs), (self.outputs, outputs)):
            if path in known:
                self.tie(known[path], ids)
            else:
                known[path] = ids
        return self.outputs[path]

    def finish(self) -> ChannelMap:
        roots = np.array([self.find(channel) for channel in range(len(self.parent))], dtype=np.int64)
        representatives, unit_of = np.unique(roots, return_inverse=True)
        reasons: dict[int, str] = {}
        for channel, reason in self.reasons.items():
            reasons.setdefault(int(unit_of[channel]), reason)
        inputs, outputs, nodes = (
            {str(name): unit_of[ids] for name, ids in table.items()}
            for table in (self.inputs, self.outputs, {n.name: ids for n, ids in self.channels.items()})
        )
        return _collect(len(representatives), inputs, outputs, nodes, reasons)


def _collect(
    units: int,
    inputs: dict[str, Ids],
    outputs: dict[str, Ids],
    nodes: dict[str, Ids],
    reasons: dict[int, str],
) -> ChannelMap:
    """Sort the units into groups by the layers they touch and how often."""
    touched: list[list[tuple[str, int]]] = [[] for _ in range(units)]
    for side, table in (("out", outputs), ("in", inputs)):
        for path, ids in table.items():
            numbers, counts = np.unique(ids, return_counts=True)
            for unit, count in zip(numbers.tolist(), counts.tolist(), strict=True):
                touched[unit].append((f"{path}.{side}", count))
    by_signature: dict[tuple[Any, ...], list[int]] = {}
    for unit in range(units):
        signature = (reasons.get(unit), tuple(sorted(touched[unit])))
        by_signature.setdefault(signature, []).append(unit)
    ordered = sorted(by_signature.items(), key=lambda item: (item[0][0] is not None, item[1][0]))
    group_of = np.full(units, -1, dtype=np.int64)
    position_of = np.zeros(units, dtype=np.int64)
    groups: list[ChannelGroup] = []
    names: dict[str, int] = {}
    for index, ((reason, _), members) in enumerate(ordered):
        group_of[members] = index
        position_of[members] = np.arange(len(members))
        touching = tuple(dict.fromkeys(name for name, _ in touched[members[0]]))
        producers = [name.removesuffix(".out") for name in touching if name.endswith(".out")]
        name = producers[0] if producers else (touching[0] if touching else "unused")
        names[name] = names.get(name, 0) + 1
        groups.append(
            ChannelGroup(
                name=name if names[name] == 1 else f"{name}#{names[name]}",
                units=len(members),
                members=touching,
                prunable=reason is None and bool(producers),
                reason=reason if producers or reason else "no layer makes these channels",
            )
        )
    return ChannelMap(
        groups=tuple(groups),
        inputs=inputs,
        outputs=outputs,
        nodes=nodes,
        group_of=group_of,
        position_of=position_of,
    )


def _operator_name(network: fx.GraphModule, node: fx.Node) -> str:
    if node.op == "call_module":
        return type(network.get_submodule(str(node.target))).__name__
    return getattr(node.target, "__name__", str(node.target))


def _source(node: fx.Node) -> fx.Node:
    source = node.args[0]
    assert isinstance(source, fx.Node)  # the rules below are only for operators of a tensor
    return source


def _convolution(tracer: _Tracer, node: fx.Node) -> Ids:
    module = tracer.network.get_submodule(str(node.target))
    assert isinstance(module, (nn.Conv1d, nn.Conv2d))  # chosen by the table of rules
    inputs = tracer.channels[_source(node)]
    groups = module.groups
    if groups > 1 and groups == module.in_channels:
        outputs = np.repeat(inputs, module.out_channels // groups)
    else:
        path = str(node.target)
        outputs = tracer.outputs.get(path, tracer.fresh(0))
        if path not in tracer.outputs:
            outputs = tracer.fresh(module.out_channels)
        for ids in (inputs, outputs):
            table = ids.reshape(groups, -1)
            for other in table[1:]:
                tracer.tie(table[0], other)
    return tracer.layer(node, inputs, outputs)


def _linear(tracer: _Tracer, node: fx.Node) -> Ids | None:
    source = _source(node)
    if len(source.meta["shape"]) != 2:
        return None
    path = str(node.target)
    features = tracer.network.get_submodule(path).get_parameter("weight").shape[0]
    outputs = tracer.outputs[path] if path in tracer.outputs else tracer.fresh(features)
    return tracer.layer(node, tracer.channels[source], outputs)


def _per_channel(tracer: _Tracer, node: fx.Node) -> Ids:
    ids = tracer.channels[_source(node)]
    return tracer.layer(node, ids, ids)


def _unchanged(tracer: _Tracer, node: fx.Node) -> Ids:
    return tracer.channels[_source(node)]


def _channel_pad(tracer: _Tracer, node: fx.Node) -> Ids:
    module = tracer.network.get_submodule(str(node.target))
    assert isinstance(module, ChannelPad)  # chosen by the table of rules
    inputs = tracer.channels[_source(node)]
    path = str(node.target)
    if path in tracer.outputs:
        return tracer.layer(node, inputs, tracer.outputs[path])
    outputs = np.concatenate([tracer.fresh(module.front), inputs, tracer.fresh(module.back)])
    return tracer.layer(node, inputs, outputs)


def _elementwise(tracer: _Tracer, node: fx.Node) -> Ids | None:
    tensors = [argument for argument in node.args if isinstance(argument, fx.Node)]
    shapes: list[tuple[Any, ...]] = [tensor.meta.get("shape", ()) for tensor in tensors]
    if any(len(shape) < 2 or shape[1] != shapes[0][1] or len(shape) != len(shapes[0]) for shape in shapes):
        return None
    for other in tensors[1:]:
        tracer.tie(tracer.channels[tensors[0]], tracer.channels[other])
    return tracer.channels[tensors[0]]


def _concatenation(tracer: _Tracer, node: fx.Node) -> Ids | None:
    tensors, dimension = node.args
    assert isinstance(tensors, (list, tuple))  # what `models.rewrite` emits
    if dimension != 1:
        return None
    return np.concatenate([tracer.channels[tensor] for tensor in tensors if isinstance(tensor, fx.Node)])


def _flatten(tracer: _Tracer, node: fx.Node) -> Ids | None:
    shape = _source(node).meta["shape"]
    if node.args[1:] != (1,) or None in shape[1:]:
        return None
    return np.repeat(tracer.channels[_source(node)], int(np.prod(shape[2:], dtype=np.int64)))


def _spatial_part(tracer: _Tracer, node: fx.Node) -> Ids | None:
    index: Any = node.args[1]
    if not isinstance(index, tuple) or len(index) < 3 or index[1] != slice(None):
        return None
    return tracer.channels[_source(node)]


_MODULE_RULES: dict[type[nn.Module], Callable[[_Tracer, fx.Node], Ids | None]] = {
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.Linear: _linear,
    nn.BatchNorm1d: _per_channel,
    nn.BatchNorm2d: _per_channel,
    ChannelPad: _channel_pad,
    **dict.fromkeys(
        (
            *(nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.Sigmoid, nn.LeakyReLU),
            *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Dropout),
        ),
        _unchanged,
    ),
}
_FUNCTION_RULES: dict[Any, Callable[[_Tracer, fx.Node], Ids | None]] = {
    operator.add: _elementwise,
    operator.mul: _elementwise,
    operator.getitem: _spatial_part,
    torch.cat: _concatenation,
    torch.flatten: _flatten,
}
