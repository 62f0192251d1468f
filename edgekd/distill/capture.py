"""Features of networks: which layers of teacher and student belong together, and what they give in a forward pass.

The user's network is never edited: forward hooks read a layer, and are gone when the block that set them ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from edgekd.errors import DistillError, UnknownNameError
from edgekd.models.layers import ChannelPad, Reshape, Slice
from edgekd.quantize.modules import ActivationQuantizer

_PARTS = 3


@dataclass(frozen=True, slots=True)
class Pair:
    """A layer of the teacher, by the name of a module, and the layer of the student that is to be like it."""

    teacher: str
    student: str

    def __str__(self) -> str:
        return self.teacher if self.teacher == self.student else f"{self.teacher} to {self.student}"


def place(teacher: nn.Module, student: nn.Module) -> tuple[Pair, ...]:
    """Return the pairs that belong together by resolution, else by depth, in the order of the teacher.

    A network's stages are its runs of equal resolution, maps of one pixel left out; the last layer of each stands for
    it. Stages of equal resolution are paired if more than half of them have a partner; else, as between a convolutional
    network and a Transformer, stages at the same share of the depth. A network of one stage is cut in three.

    Raises:
        DistillError: One of the networks has no layer with positions.
    """
    ours, theirs = _stages(student, "student"), _stages(teacher, "teacher")
    alike = list(_in_order([size for size, _ in theirs], [size for size, _ in ours]))
    count = min(len(ours), len(theirs))
    if 2 * len(alike) <= count:
        alike = [(_share(i, count, len(theirs)), _share(i, count, len(ours))) for i in range(count)]
    return tuple(Pair(theirs[t][1], ours[s][1]) for t, s in alike)


def depth_of(network: nn.Module, layer: str) -> float:
    """Return how deep a layer lies: the share of the network's weighted layers that come no later, in (0, 1]."""
    graph = _graph(network, "network")
    weighted = [node for node in graph.graph.nodes if _has_weight(graph, node)]
    end = layer_node(network, layer, "layer")
    nodes = list(graph.graph.nodes)
    return sum(nodes.index(node) <= nodes.index(end) for node in weighted) / max(1, len(weighted))


def layer_node(network: nn.Module, name: str, where: str) -> fx.Node:
    """Return the node whose value a layer's name means: the last call of that module, or the last within it.

    A batch norm that was folded into a convolution stands for that convolution.

    Raises:
        UnknownNameError: There is no such module; the nearest is suggested.
        DistillError: The network is no graph of modules.
    """
    graph = _graph(network, where)
    name = graph.meta.get("folded", {}).get(name, name)
    found: dict[str, fx.Node] = {}
    for node in graph.graph.nodes:
        if node.op not in ("call_module", "call_function") or _is_quantizer(graph, node):
            continue
        for known in _names(node):
            found[known] = node
    if name not in found:
        raise UnknownNameError(where, name, found)
    return found[name]


@contextmanager
def captured(network: nn.Module, layers: Sequence[str], where: str = "layer") -> Iterator[dict[str, torch.Tensor]]:
    """Fill a dictionary with the features of these layers at every forward pass within the block.

    Raises:
        UnknownNameError: There is no such layer.
        DistillError: A layer's value reaches no module, so that no hook can read it.
    """
    features: dict[str, torch.Tensor] = {}
    with ExitStack() as hooks:
        for layer in layers:
            hooks.callback(_hook(network, layer, where, features).remove)
        yield features


def _hook(network: nn.Module, layer: str, where: str, features: dict[str, torch.Tensor]) -> Any:
    """Read a node's value where it leaves its module; that of a function where it enters the next module."""
    node = layer_node(network, layer, where)
    if node.op == "call_module":
        module = network.get_submodule(str(node.target))
        # Copies of a network share their modules' dictionaries of hooks: each hook asks for its own module.
        return module.register_forward_hook(
            lambda called, _inputs, output: features.update({layer: output}) if called is module else None
        )
    for user in node.users:
        if user.op == "call_module" and node in user.args and _is_called_once(user):
            reader, position = network.get_submodule(str(user.target)), user.args.index(node)
            return reader.register_forward_pre_hook(_reading(reader, position, layer, features))
    raise DistillError(
        f"{where} '{layer}'",
        expected="a value that a module gives or takes",
        found=f"one of '{node.name}', which functions alone read",
        hint="Choose the module before or after it.",
    )


def _reading(reader: nn.Module, position: int, layer: str, features: dict[str, torch.Tensor]) -> Any:
    return lambda called, inputs: features.update({layer: inputs[position]}) if called is reader else None


def _is_called_once(node: fx.Node) -> bool:
    return [other.target for other in node.graph.nodes].count(node.target) == 1


def _stages(network: nn.Module, where: str) -> list[tuple[tuple[int, ...], str]]:
    """Return the resolution and the last layer of each stage."""
    graph = _graph(network, where)
    runs: list[tuple[tuple[int, ...], list[str]]] = []
    for node in graph.graph.nodes:
        size = _resolution(node)
        if size is None or not _is_candidate(graph, node):
            continue
        if not runs or runs[-1][0] != size:
            runs.append((size, []))
        runs[-1][1].append(str(node.target))
    if not runs:
        raise DistillError(
            where,
            expected="layers that give maps or tokens",
            found="none",
            hint='Name the layers, or take a loss of outputs: layers = "outputs".',
        )
    if len(runs) > 1:
        return [(size, layers[-1]) for size, layers in runs]
    size, layers = runs[0]
    count = min(_PARTS, len(layers))
    return [(size, layers[_share(i, count, len(layers))]) for i in range(count)]


def _resolution(node: fx.Node) -> tuple[int, ...] | None:
    """Return the sizes of a map or the number of tokens; `None` for a vector and for a map of one pixel."""
    shape = node.meta.get("shape", ())
    size = tuple(shape[2:]) if len(shape) == 4 else tuple(shape[1:2]) if len(shape) == 3 else ()
    known = tuple(1 if s is None else int(s) for s in size)
    return known if any(s > 1 for s in known) else None


def _in_order(first: Sequence[Any], second: Sequence[Any]) -> Iterator[tuple[int, int]]:
    """Yield positions of equal entries, both rising."""
    start = 0
    for i, entry in enumerate(first):
        for j in range(start, len(second)):
            if second[j] == entry:
                yield i, j
                start = j + 1
                break


def _share(index: int, count: int, length: int) -> int:
    """Return the position at the end of part `index` of `count` equal parts."""
    return round((index + 1) * length / count) - 1


def _names(node: fx.Node) -> Iterator[str]:
    """Yield what a node may be called: its own name, its module's, and those of the modules around it."""
    yield node.name
    for path in (str(node.target) if node.op == "call_module" else "", str(node.meta.get("where", ""))):
        parts = path.split(".") if path else []
        yield from (".".join(parts[: end + 1]) for end in range(len(parts)))


def _graph(network: nn.Module, where: str) -> fx.GraphModule:
    if isinstance(network, fx.GraphModule):
        return network
    raise DistillError(
        where,
        expected="a network as load_model gives it",
        found=type(network).__name__,
        hint="Rebuild it with edgekd.models.load.from_module.",
    )


def _is_quantizer(graph: fx.GraphModule, node: fx.Node) -> bool:
    return node.op == "call_module" and isinstance(graph.get_submodule(str(node.target)), ActivationQuantizer)


def _is_candidate(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Say whether a node may stand for its stage: a layer that computes, and not one that only cuts or pads."""
    moving = (ActivationQuantizer, Slice, ChannelPad, Reshape)
    return node.op == "call_module" and not isinstance(graph.get_submodule(str(node.target)), moving)


def _has_weight(graph: fx.GraphModule, node: fx.Node) -> bool:
    if node.op != "call_module":
        return False
    parameters: Mapping[str, Any] = dict(graph.get_submodule(str(node.target)).named_parameters())
    return any(value.dim() > 1 for value in parameters.values())
