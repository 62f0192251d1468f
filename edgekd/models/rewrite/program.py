"""Rebuild an exported program as a network of real modules.

`torch.export` gives an ATen graph whose weights are inputs of functions. Pruning, batch-norm recalibration and fake
quantization act on modules, so every operator with parameters becomes its module again, under the name its
parameters had, and operators whose constants depend on channel counts become layers that can be narrowed.
Operators the tables do not know stay as they are: the network computes the same, and pruning leaves the channels
that reach them whole.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram

from edgekd.errors import ModelError
from edgekd.models.quiet import quiet_torch
from edgekd.models.rewrite import pointwise, shaped, weighted
from edgekd.models.rewrite.builder import Builder

_CONVERTERS: dict[Any, Any] = {**weighted.CONVERTERS, **shaped.CONVERTERS, **pointwise.CONVERTERS}


def rebuild(program: ExportedProgram) -> fx.GraphModule:
    """Return the exported network with real `nn.Conv2d`, `nn.BatchNorm2d`, ... modules, in evaluation mode.

    It takes the program's inputs one after the other, however they were nested, and returns a tensor or a tuple of
    tensors. Each node of a tensor carries `meta["shape"]`, its shape at export with `None` for dynamic sizes, and
    `meta["dtype"]`; a node of several tensors has an empty shape; `meta["where"]` is the user's module it comes from.

    Raises:
        ModelError: The network changes its input or its buffers.
    """
    if any(_is_in_place(node) for node in program.graph.nodes):
        with quiet_torch():
            program = program.run_decompositions({})
    signature = program.graph_signature
    if len(signature.output_specs) != len(signature.user_outputs):
        raise ModelError(
            "model",
            expected="a network that leaves its input and its buffers as they are",
            found="one that changes them, as batch norm does in training mode",
            hint="Export it in evaluation mode: call model.eval() before torch.export.export.",
        )
    builder = Builder(program)
    user_inputs = set(signature.user_inputs)
    for node in program.graph.nodes:
        _copy_node(builder, node, user_inputs)
    network = fx.GraphModule(builder.root, builder.graph, class_name="Network")
    _drop_unused(network.graph)
    network.graph.lint()
    network.recompile()
    network.delete_all_unused_submodules()
    return network.eval()


def _copy_node(builder: Builder, node: fx.Node, user_inputs: set[str]) -> None:
    if node.op == "placeholder":
        if node.name in user_inputs:
            builder.values[node] = builder.graph.placeholder(node.name)
            _describe(builder.values[node], node)
        return
    if node.op == "output":
        outputs = builder.value(node.args[0])
        builder.graph.output(outputs[0] if len(outputs) == 1 else tuple(outputs)).meta["shape"] = ()
        return
    converter = _CONVERTERS.get(node.target)
    new = converter(builder, node) if converter else None
    if new is None:
        function: Any = node.target
        new = builder.function(function, *node.args, **node.kwargs)
    builder.values[node] = new
    _describe(new, node)


def _describe(new: Any, old: fx.Node) -> None:
    value = old.meta.get("val")
    if not isinstance(new, fx.Node) or "shape" in new.meta:
        return
    if isinstance(value, torch.Tensor):
        new.meta["shape"] = tuple(size if isinstance(size, int) else None for size in value.shape)
        new.meta["dtype"] = value.dtype
    elif isinstance(value, (list, tuple)):
        new.meta["shape"] = ()
    modules = list((old.meta.get("nn_module_stack") or {}).values())
    if modules:
        new.meta["where"] = modules[-1][0].removeprefix("L['self'].")


def _drop_unused(graph: fx.Graph) -> None:
    """Remove what nothing reads; assertions on sizes and types are read by nothing either, the inputs stay."""
    for node in reversed(graph.nodes):
        if not node.users and node.op not in ("placeholder", "output"):
            graph.erase_node(node)


def _is_in_place(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable
