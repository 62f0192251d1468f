"""The network under construction while an exported program is rebuilt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind


class Builder:
    """The new graph, the modules in it, and the stored tensors of the program it comes from."""

    def __init__(self, program: ExportedProgram) -> None:
        self.root = nn.Module()
        self.graph = fx.Graph()
        self.values: dict[fx.Node, Any] = {}
        self.tensors = _stored_tensors(program)
        self._places: dict[str, str] = {}

    def value(self, old: Any) -> Any:
        """Return the new form of an argument: nodes are replaced, stored tensors read, at any depth."""
        return fx.node.map_arg(old, self._new_node)

    def tensor(self, old: Any) -> torch.Tensor | None:
        """Return the stored tensor a node stands for, or `None` if it is computed or absent."""
        return self.tensors[old.name][1] if isinstance(old, fx.Node) and old.name in self.tensors else None

    def owner(self, old: fx.Node) -> str:
        """Return the module path a stored tensor belongs to: `layer1.0.conv1` of `layer1.0.conv1.weight`."""
        return self.tensors[old.name][0].rpartition(".")[0] or old.name

    def call(self, path: str, module: nn.Module, *arguments: Any, bias: fx.Node | None = None) -> fx.Node:
        """Call the module at `path`, which is put there unless the same one already is (weights used twice).

        Layers that share a weight and have different biases are two, each with a copy of the weight.
        """
        key = f"{path}:{type(module).__name__}:{bias.name if bias is not None else ''}"
        if key not in self._places:
            self._places[key] = path if not _is_taken(self.root, path) else f"{path}_{len(self._places)}"
            container, _, name = self._places[key].rpartition(".")
            self._container(container).add_module(name, module)
        return self.graph.call_module(self._places[key], tuple(self.value(a) for a in arguments))

    def function(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> fx.Node:
        """Call a function."""
        return self.graph.call_function(function, self.value(arguments), self.value(options))

    def function_of_new(self, function: Callable[..., Any], source: fx.Node, *constants: Any) -> fx.Node:
        """Call a function of a node that is in the new graph already."""
        return self.graph.call_function(function, (source, *constants))

    def _new_node(self, old: fx.Node) -> Any:
        if old not in self.values:
            self.values[old] = self._stored(old)
        return self.values[old]

    def _stored(self, old: fx.Node) -> fx.Node:
        """Read a stored tensor that belongs to no layer, as a parameter or buffer at the path it had."""
        path, tensor = self.tensors[old.name]
        parent, _, name = path.rpartition(".")
        container = self._container(parent)
        if name not in container._parameters and name not in container._buffers:
            if isinstance(tensor, nn.Parameter):
                container.register_parameter(name, nn.Parameter(tensor.detach().clone(), tensor.requires_grad))
            else:
                container.register_buffer(name, tensor.detach().clone())
        node = self.graph.get_attr(path)
        node.meta.update(shape=tuple(tensor.shape), dtype=tensor.dtype)
        return node

    def _container(self, path: str) -> nn.Module:
        module = self.root
        for name in path.split(".") if path else ():
            if name not in module._modules:
                module.add_module(name, nn.Module())
            module = module.get_submodule(name)
        return module


def argument(node: fx.Node, name: str, default: Any = None) -> Any:
    """Return an operator's argument by the name in its schema, however it was given."""
    if name in node.kwargs:
        return node.kwargs[name]
    schema = node.target._schema.arguments  # type: ignore[union-attr]  # only for operators, which have one
    for position, known in enumerate(schema):
        if known.name == name:
            given = node.args[position] if position < len(node.args) else known.default_value
            return default if given is None else given
    return default


def source_of(node: fx.Node) -> fx.Node:
    """Return the first argument of an operator that reads a tensor."""
    source = node.args[0]
    assert isinstance(source, fx.Node)  # what the operators of the tables take
    return source


def shape_of(node: fx.Node) -> tuple[int | None, ...]:
    """Return the shape of an exported node's value, `None` where it is dynamic."""
    return tuple(size if isinstance(size, int) else None for size in node.meta["val"].shape)


def copy_into(module: nn.Module, name: str, value: torch.Tensor | None) -> None:
    """Set a parameter or buffer of a new module."""
    if value is not None:
        with torch.no_grad():
            getattr(module, name).copy_(value)


def _stored_tensors(program: ExportedProgram) -> dict[str, tuple[str, torch.Tensor]]:
    """Map the name of each placeholder that stands for a stored tensor to that tensor's path and value."""
    stored: dict[str, tuple[str, torch.Tensor]] = {}
    for spec in program.graph_signature.input_specs:
        if spec.kind is InputKind.USER_INPUT or spec.target is None:
            continue
        source = program.state_dict if spec.target in program.state_dict else program.constants
        stored[spec.arg.name] = (spec.target, source[spec.target])
    return stored


def _is_taken(root: nn.Module, path: str) -> bool:
    try:
        root.get_submodule(path)
    except AttributeError:
        return False
    return True
