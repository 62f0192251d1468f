"""One pass over a network that gives every channel an identity and notes which identities are tied.

The identities of a tensor are an array of its rank. Along an axis it has the tensor's size where the identity changes
from place to place, and 1 where it does not: `[1, channels, 1, 1]` after a convolution, `[1, 1, features]` for a
linear layer on tokens, `[1, heads, 1, width]` inside attention. Views and permutations of the tensor are then views and
permutations of the array, which is all it takes to follow channels through them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import fx

Ids = npt.NDArray[np.int64]
Rule = Callable[["Tracer", fx.Node], Ids | None]


class Tracer:
    """The identities of every tensor seen so far, ties between them, and those that must stay, with the reason."""

    def __init__(self, network: fx.GraphModule, rules: Mapping[Any, Rule]) -> None:
        self.network = network
        self.rules = rules
        self.count = 0
        self.ids: dict[fx.Node, Ids] = {}
        self.inputs: dict[str, Ids] = {}
        self.outputs: dict[str, Ids] = {}
        self.splits: list[Ids] = []
        self.reasons: list[tuple[Ids, str]] = []
        self._ties: list[tuple[Ids, Ids]] = []

    def fresh(self, *shape: int) -> Ids:
        """Return identities that nothing is tied to yet."""
        size = int(np.prod(shape, dtype=np.int64))
        self.count += size
        return np.arange(self.count - size, self.count).reshape(shape)

    def tie(self, first: Ids, second: Ids) -> None:
        """Let identities live and die together, place by place after broadcasting."""
        first, second = np.broadcast_arrays(first, second)
        self._ties.append((first.ravel(), second.ravel()))

    def tie_along(self, ids: Ids, axis: int) -> None:
        """Let all places along an axis live and die together."""
        self.tie(ids, ids.take([0], axis))

    def fix(self, ids: Ids, reason: str) -> None:
        """Forbid to drop these, which the first reason given explains."""
        self.reasons.append((ids.ravel(), reason))

    def roots(self) -> Ids:
        """Return for each identity the number of the unit it belongs to, counted from 0."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        none = np.zeros(0, dtype=np.int64)
        first, second = (np.concatenate([none, *(pair[side] for pair in self._ties)]) for side in (0, 1))
        graph = coo_array((np.ones(len(first), dtype=np.int8), (first, second)), shape=(self.count, self.count))
        labels = connected_components(graph, directed=False)[1]
        # Numbered by the first identity of each, whatever order the library finds them in.
        _, places, inverse = np.unique(labels, return_index=True, return_inverse=True)
        numbers: Ids = np.argsort(np.argsort(places))[inverse].astype(np.int64)
        return numbers

    def visit(self, node: fx.Node) -> None:
        """Follow the channels through one node."""
        if node.op == "placeholder":
            shape = self.shape(node)
            tracked = [size if axis == 1 and size is not None else 1 for axis, size in enumerate(shape)]
            self.ids[node] = self.fresh(*tracked)
            self.fix(self.ids[node], "the network's input")
        elif node.op == "output":
            for used in node.all_input_nodes:
                self.fix(self.of(used), "the network's output")
        elif node.op != "get_attr" and "shape" in node.meta:
            rule = self.rules.get(self._kind(node))
            result = rule(self, node) if rule else None
            self.ids[node] = result if result is not None else self._opaque(node)

    def of(self, node: fx.Node) -> Ids:
        """Return the identities of a node; those of a stored tensor run along its last axis of more than one place."""
        if node not in self.ids:
            shape = [size or 1 for size in self.shape(node)]
            wide = [axis for axis, size in enumerate(shape) if size > 1][-1:]
            self.stored(node, tuple(size if axis in wide else 1 for axis, size in enumerate(shape)))
        return self.ids[node]

    def stored(self, node: fx.Node, shape: tuple[int, ...]) -> Ids:
        """Give a stored tensor identities of that shape; one that is read at several places has the same at all."""
        path = str(node.target)
        if path not in self.outputs:
            self.outputs[path] = self.fresh(*shape)
        self.ids[node] = self.outputs[path]
        return self.ids[node]

    def shape(self, node: fx.Node) -> tuple[int | None, ...]:
        """Return the shape at export, `None` for a dynamic size; of what is no tensor, an empty one."""
        shape: tuple[int | None, ...] = node.meta.get("shape", ())
        return shape

    def along(self, node: fx.Node, axis: int) -> Ids | None:
        """Return the identities along one axis, `[size]`, or `None` if others change too or the size is dynamic."""
        ids = self.of(node)
        axis %= ids.ndim
        size = self.shape(node)[axis]
        if size is None or ids.size != ids.shape[axis]:
            return None
        return np.broadcast_to(ids.ravel(), (size,)) if ids.size == 1 else ids.ravel()

    def layer(self, node: fx.Node, inputs: Ids, outputs: Ids) -> Ids:
        """Record a layer's identities; a layer called twice has the same both times."""
        path = str(node.target)
        for known, ids in ((self.inputs, inputs), (self.outputs, outputs)):
            if path in known:
                self.tie(known[path], ids)
            else:
                known[path] = ids
        return self.outputs[path]

    def module(self, node: fx.Node) -> Any:
        """Return the module a node calls."""
        return self.network.get_submodule(str(node.target))

    def _kind(self, node: fx.Node) -> Any:
        return type(self.module(node)) if node.op == "call_module" else node.target

    def _opaque(self, node: fx.Node) -> Ids:
        """Nothing is known of what an operator does with channels: all that reach it and all it makes stay."""
        reason = f"used by {self._name(node)}, which is not followed"
        for used in node.all_input_nodes:
            if "shape" in used.meta:
                self.fix(self.of(used), reason)
        result = self.fresh(*[1] * len(self.shape(node)))
        self.fix(result, reason)
        return result

    def _name(self, node: fx.Node) -> str:
        kind = self._kind(node)
        name = getattr(kind, "__name__", str(kind)).partition(".")[0]
        place = node.meta.get("where")
        return f"{name} in '{place}'" if place else f"'{node.name}' ({name})"


def source(node: fx.Node) -> fx.Node:
    """Return the tensor an operator reads first."""
    first = node.args[0]
    assert isinstance(first, fx.Node)  # the rules are only for operators of a tensor
    return first
