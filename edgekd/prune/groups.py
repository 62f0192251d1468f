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

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import fx

from edgekd.models.layers import ChannelShuffle, Reshape, Slice
from edgekd.prune.rules import RULES
from edgekd.prune.tracer import Ids, Tracer
from edgekd.records import ChannelGroup, Plan

_MOVING = (Slice, Reshape, ChannelShuffle)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelMap:
    """Which unit each channel of a network belongs to.

    Attributes:
        groups: The prunable groups first, in the order of the network, then the fixed ones with their reason.
        inputs: For each layer, the unit number of each of its input channels (or features), `[channels]`; for a
            `Slice` or `Reshape` those of its whole input, as in `nodes`.
        outputs: The same for its output; also those of stored tensors of no layer, in the rank of the tensor.
        nodes: For each node of the graph, the unit numbers of its output: an array of the output's rank that is 1 along
            axes where the unit does not change (see `edgekd.prune.tracer`).
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
    tracer = Tracer(network, RULES)
    for node in network.graph.nodes:
        tracer.visit(node)
    unit_of = tracer.roots()
    reasons: dict[int, str] = {}
    for ids, reason in tracer.reasons:
        for unit in np.unique(unit_of[ids]).tolist():
            reasons.setdefault(unit, reason)
    inputs, outputs, nodes = (
        {str(name): unit_of[ids] for name, ids in table.items()}
        for table in (tracer.inputs, tracer.outputs, {n.name: ids for n, ids in tracer.ids.items()})
    )
    moving = {path for path, module in network.named_modules() if isinstance(module, _MOVING)}
    return _collect(inputs, outputs, nodes, moving, reasons, units=int(unit_of.max(initial=-1)) + 1)


def _collect(
    inputs: dict[str, Ids],
    outputs: dict[str, Ids],
    nodes: dict[str, Ids],
    moving: set[str],
    reasons: dict[int, str],
    units: int,
) -> ChannelMap:
    """Sort the units into groups: those that are found in the same places, equally often, are interchangeable."""
    layers = {f"{path}.out": ids for path, ids in outputs.items() if path not in moving}
    layers |= {f"{path}.in": ids for path, ids in inputs.items() if path not in moving}
    places = _places((*layers.values(), *nodes.values()), units)
    by_signature: dict[tuple[str | None, bytes, bytes], list[int]] = {}
    for unit, (found, counts) in enumerate(places):
        by_signature.setdefault((reasons.get(unit), found.tobytes(), counts.tobytes()), []).append(unit)
    ordered = sorted(by_signature.items(), key=lambda item: (item[0][0] is not None, item[1][0]))
    group_of = np.full(units, -1, dtype=np.int64)
    position_of = np.zeros(units, dtype=np.int64)
    groups: list[ChannelGroup] = []
    names: dict[str, int] = {}
    layer_names = list(layers)
    for index, ((reason, _, _), members) in enumerate(ordered):
        group_of[members] = index
        position_of[members] = np.arange(len(members))
        touching = tuple(layer_names[place] for place in places[members[0]][0] if place < len(layer_names))
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


def _places(tables: Iterable[Ids], units: int) -> list[tuple[Ids, Ids]]:
    """Return for each unit which of the tables it is in, and how often in each."""
    found, where, counts = [], [], []
    for index, ids in enumerate(tables):
        numbers, times = np.unique(ids, return_counts=True)
        found.append(numbers)
        where.append(np.full(len(numbers), index))
        counts.append(times)
    unit, place, count = (np.concatenate(column) for column in (found, where, counts))
    order = np.argsort(unit, kind="stable")
    ends = np.cumsum(np.bincount(unit, minlength=units))[:-1]
    return list(zip(np.split(place[order], ends), np.split(count[order], ends), strict=True))
