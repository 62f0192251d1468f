"""How much memory the values between layers take while a network runs."""

from __future__ import annotations

import math

import torch
from torch import fx, nn

from edgekd.models.layers import Reshape, Slice

# What runtimes compute in place, or without touching the values.
_IN_PLACE = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.Dropout, nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid),
    *(nn.SiLU, nn.Sigmoid, nn.LeakyReLU, nn.PReLU, nn.GELU, nn.Tanh, nn.ELU, nn.Mish, nn.Softplus),
    *(Reshape, Slice),
)
_VIEWS = (torch.flatten, torch.squeeze, torch.unsqueeze, torch.select)


def peak_activations(network: fx.GraphModule) -> int:
    """Return the largest number of elements alive at once for one example, in the order of the graph.

    A value lives from the operator that makes it to the last that reads it; activations, norms and views share the
    memory of what they read. A runtime may need more: it may keep copies, or order operators otherwise.
    """
    return max((sum(map(elements_of, alive)) for alive in alive_values(network)), default=0)


def elements_of(node: fx.Node) -> int:
    """Return the elements of a node's value for one example, at the widths the graph was made for."""
    return math.prod(size for size in node.meta["shape"][1:] if size is not None)


def alive_values(network: fx.GraphModule) -> tuple[frozenset[fx.Node], ...]:
    """Return for each node that makes a value of its own which values are in memory while it runs, its own among them.

    Values that share memory are named by the one that it was made for.
    """
    owner: dict[fx.Node, fx.Node] = {}
    last_read: dict[fx.Node, int] = {}
    for position, node in enumerate(network.graph.nodes):
        for used in node.all_input_nodes:
            if used in owner:
                last_read[owner[used]] = position
        if _is_value(node):
            shared = _shares_memory(network, node)
            owner[node] = owner[node.all_input_nodes[0]] if shared and node.all_input_nodes[0] in owner else node
    alive: set[fx.Node] = set()
    found = []
    for position, node in enumerate(network.graph.nodes):
        if node in owner and owner[node] is node:
            alive.add(node)
            found.append(frozenset(alive))
        alive = {value for value in alive if last_read.get(value, -1) > position}
    return tuple(found)


def _is_value(node: fx.Node) -> bool:
    return node.op not in ("get_attr", "output") and len(node.meta.get("shape", ())) > 0


def _shares_memory(network: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(network.get_submodule(str(node.target)), _IN_PLACE)
    return node.target in _VIEWS
