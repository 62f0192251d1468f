"""Rebuild an exported program as a network of real modules.

`torch.export` gives an ATen graph whose weights are inputs of functions. Pruning, batch-norm recalibration and fake
quantization act on modules, so every operator with parameters becomes its module again, under the name its
parameters had, and operators whose constants depend on channel counts become layers that can be narrowed.
Operators this file does not know stay as they are: the network computes the same, and pruning leaves the channels
that reach them whole.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from edgekd.errors import ModelError
from edgekd.models.layers import ChannelPad
from edgekd.models.quiet import quiet_torch

_aten = torch.ops.aten
_END = 2**63 - 1


class _Rebuilder:
    """The state of one rebuild: the new graph, the modules in it, and the stored tensors."""

    def __init__(self, program: ExportedProgram) -> None:
        self.program = program
        self.root = nn.Module()
        self.graph = fx.Graph()
        self.values: dict[fx.Node, Any] = {}
        self.tensors = _stored_tensors(program)
        self.places: dict[str, str] = {}

    def value(self, old: Any) -> Any:
        return fx.node.map_arg(old, lambda node: self.values[node])

    def tensor(self, old: fx.Node | None) -> torch.Tensor | None:
        return None if old is None else self.tensors[old.name][1]

    def owner(self, old: fx.Node) -> str:
        """The module path a stored tensor belongs to: `layer1.0.conv1` of `layer1.0.conv1.weight`."""
        return self.tensors[old.name][0].rpartition(".")[0] or old.name

    def call(self, path: str, module: nn.Module, args: tuple[Any, ...]) -> fx.Node:
        """Call the module at `path`, which is put there unless the same one already is (weights used twice)."""
        key = f"{path}:{type(module).__name__}"
        if key not in self.places:
            self.places[key] = path if not _has_module(self.root, path) else f"{path}_{len(self.places)}"
            _put_module(self.root, self.places[key], module)
        return self.graph.call_module(self.places[key], tuple(self.value(a) for a in args))


def rebuild(program: ExportedProgram) -> fx.GraphModule:
    """Return the exported network with real `nn.Conv2d`, `nn.BatchNorm2d`, ... modules, in evaluation mode.

    Each node carries `meta["shape"]`, the shape of its output at export, with `None` for dynamic sizes.

    Raises:
        ModelError: The network has several inputs or outputs, or changes its input or buffers.
    """
    if any(_is_in_place(node) for node in program.graph.nodes):
        with quiet_torch():
            program = program.run_decompositions({})
    builder = _Rebuilder(program)
    user_inputs = set(program.graph_signature.user_inputs)
    outputs = program.graph_signature.user_outputs
    if len(program.graph_signature.output_specs) != len(outputs):
        raise ModelError(
            "model",
            expected="a network that leaves its input and its buffers as they are",
            found="one that changes them, as batch norm does in training mode",
            hint="Export it in evaluation mode: call model.eval() before torch.export.export.",
        )
    if len(user_inputs) != 1 or len(outputs) != 1:
        raise ModelError(
            "model",
            expected="one input tensor and one output tensor",
            found=f"{len(user_inputs)} inputs and {len(outputs)} outputs",
            hint="Wrap the network in a module whose forward takes one tensor and returns one.",
        )
    for node in program.graph.nodes:
        _copy_node(builder, node, user_inputs)
    network = fx.GraphModule(builder.root, builder.graph, class_name="Network")
    network.graph.eliminate_dead_code()
    network.graph.lint()
    network.recompile()
    network.delete_all_unused_submodules()
    return network.eval()


def _copy_node(builder: _Rebuilder, node: fx.Node, user_inputs: set[str]) -> None:
    if node.op == "placeholder":
        if node.name in user_inputs:
            builder.values[node] = builder.graph.placeholder(node.name)
        elif node.name in builder.tensors:
            return
    elif node.op == "output":
        new = builder.graph.output(builder.value(_args(node)[0])[0])
        new.meta["shape"] = ()
        return
    else:
        converter = _CONVERTERS.get(node.target)
        new = converter(builder, node) if converter else None
        builder.values[node] = new if new is not None else _keep(builder, node)
    new = builder.values[node]
    value = node.meta.get("val")
    if isinstance(new, fx.Node) and isinstance(value, torch.Tensor) and "shape" not in new.meta:
        new.meta["shape"] = tuple(size if isinstance(size, int) else None for size in value.shape)


def _keep(builder: _Rebuilder, node: fx.Node) -> fx.Node:
    """Keep an operator as it is; stored tensors it reads become buffers or parameters of the network."""
    for used in node.all_input_nodes:
        if used not in builder.values:
            name, tensor = builder.tensors[used.name]
            path = name.replace(".", "_")
            if not hasattr(builder.root, path):
                if isinstance(tensor, nn.Parameter):
                    builder.root.register_parameter(path, nn.Parameter(tensor.detach().clone()))
                else:
                    builder.root.register_buffer(path, tensor.detach().clone())
            builder.values[used] = builder.graph.get_attr(path)
    function: Any = node.target
    return builder.graph.call_function(function, builder.value(_args(node)), builder.value(node.kwargs))


def _stored_tensors(program: ExportedProgram) -> dict[str, tuple[str, torch.Tensor]]:
    """Map the name of each placeholder that stands for a stored tensor to that tensor's path and value."""
    stored: dict[str, tuple[str, torch.Tensor]] = {}
    for spec in program.graph_signature.input_specs:
        if spec.kind is InputKind.USER_INPUT or spec.target is None:
            continue
        source = program.state_dict if spec.target in program.state_dict else program.constants
        stored[spec.arg.name] = (spec.target, source[spec.target])
    return stored


def _is_in_place(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _has_module(root: nn.Module, path: str) -> bool:
    try:
        root.get_submodule(path)
    except AttributeError:
        return False
    return True


def _put_module(root: nn.Module, path: str, module: nn.Module) -> None:
    *parents, last = path.split(".")
    for name in parents:
        if name not in root._modules:
            root.add_module(name, nn.Module())
        root = root.get_submodule(name)
    root.add_module(last, module)


def _args(node: fx.Node) -> tuple[Any, ...]:
    """The arguments of an exported operator, whose schema says of each what it is."""
    return node.args


def _argument(node: fx.Node, position: int, name: str, default: Any) -> Any:
    if len(_args(node)) > position:
        return _args(node)[position]
    return node.kwargs.get(name, default)


def _set_tensor(module: nn.Module, name: str, value: torch.Tensor | None) -> None:
    if value is not None:
        with torch.no_grad():
            getattr(module, name).copy_(value)


def _conv(builder: _Rebuilder, node: fx.Node) -> fx.Node | None:
    weight = builder.tensor(_args(node)[1])
    bias = builder.tensor(_argument(node, 2, "bias", None))
    stride, padding, dilation = (_argument(node, i, n, d) for i, n, d in _CONV_ARGUMENTS)
    groups = _argument(node, 6, "groups", 1)
    if weight is None:
        return None
    dimensions = weight.dim() - 2
    kind: Any = {1: nn.Conv1d, 2: nn.Conv2d}[dimensions]
    module = kind(
        weight.shape[1] * groups,
        weight.shape[0],
        tuple(weight.shape[2:]),
        stride=_per_dimension(stride, dimensions),
        padding=padding if isinstance(padding, str) else _per_dimension(padding, dimensions),
        dilation=_per_dimension(dilation, dimensions),
        groups=groups,
        bias=bias is not None,
    )
    _set_tensor(module, "weight", weight)
    _set_tensor(module, "bias", bias)
    return builder.call(builder.owner(_args(node)[1]), module, (_args(node)[0],))


_CONV_ARGUMENTS = ((3, "stride", 1), (4, "padding", 0), (5, "dilation", 1))


def _per_dimension(value: Any, dimensions: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    return values * dimensions if len(values) == 1 else values


def _linear(builder: _Rebuilder, node: fx.Node) -> fx.Node | None:
    if _args(node)[1].name not in builder.tensors:
        return None
    weight = builder.tensor(_args(node)[1])
    bias = builder.tensor(_argument(node, 2, "bias", None))
    assert weight is not None  # narrowed by the test above, for the type checker
    module = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    _set_tensor(module, "weight", weight)
    _set_tensor(module, "bias", bias)
    return builder.call(builder.owner(_args(node)[1]), module, (_args(node)[0],))


def _batch_norm(builder: _Rebuilder, node: fx.Node, momentum: float, epsilon: float) -> fx.Node | None:
    source, weight, bias, mean, variance = _args(node)[:5]
    if any(old is None for old in (weight, bias, mean, variance)):
        return None
    rank = len(source.meta["val"].shape)
    kind = nn.BatchNorm2d if rank == 4 else nn.BatchNorm1d
    module = kind(builder.tensors[mean.name][1].numel(), eps=epsilon, momentum=momentum)
    for name, old in zip(("weight", "bias", "running_mean", "running_var"), _args(node)[1:5], strict=True):
        _set_tensor(module, name, builder.tensor(old))
    return builder.call(builder.owner(weight), module, (source,))


def _batch_norm_exported(builder: _Rebuilder, node: fx.Node) -> fx.Node | None:
    return _batch_norm(builder, node, momentum=_args(node)[6], epsilon=_args(node)[7])


def _batch_norm_functional(builder: _Rebuilder, node: fx.Node) -> fx.Node | None:
    # Its three outputs are read through `getitem`; only the first one, the normalized tensor, is ever used.
    if any(user.args[1] != 0 and user.users for user in node.users):
        return None
    new = _batch_norm(builder, node, momentum=_args(node)[5], epsilon=_args(node)[6])
    if new is not None:
        builder.values.update(dict.fromkeys(node.users, new))
    return new


def _getitem(builder: _Rebuilder, node: fx.Node) -> fx.Node | None:
    known: fx.Node | None = builder.values.get(node)  # filled in by `_batch_norm_functional`
    return known


def _activation(factory: Callable[..., nn.Module]) -> Callable[[_Rebuilder, fx.Node], fx.Node]:
    def convert(builder: _Rebuilder, node: fx.Node) -> fx.Node:
        return builder.call(node.name, factory(*_args(node)[1:], **node.kwargs), (_args(node)[0],))

    return convert


def _hardtanh(builder: _Rebuilder, node: fx.Node) -> fx.Node | None:
    low, high = _argument(node, 1, "min_val", -1.0), _argument(node, 2, "max_val", 1.0)
    module = nn.ReLU6() if (low, high) == (0.0, 6.0) else nn.Hardtanh(low, high)
    return builder.call(node.name, module, (_args(node)[0],))


def _pool(factory: Callable[..., nn.Module]) -> Callable[[_Rebuilder, fx.Node], fx.Node]:
    def convert(builder: _Rebuilder, node: fx.Node) -> fx.Node:
        names = [argument.name for argument in node.target._schema.arguments[1:]]  # type: ignore[union-attr]  # an operator
        # By name, because the modules have their arguments in another order than the operators.
        arguments = dict(zip(names, _args(node)[1:], strict=False)) | dict(node.kwargs)
        arguments = {n: tuple(a) if isinstance(a, (list, tuple)) else a for n, a in arguments.items()}
        if arguments.get("stride") == ():
            del arguments["stride"]
        return builder.call(node.name, factory(**arguments), (_args(node)[0],))

    return convert


def _mean(builder: _Rebuilder, node: fx.Node) -> fx.Node | None:
    shape = _args(node)[0].meta["val"].shape
    dimensions = sorted(d % len(shape) for d in _args(node)[1] or ())
    if len(shape) != 4 or dimensions != [2, 3]:
        return None
    pooled = builder.call(node.name, nn.AdaptiveAvgPool2d(1), (_args(node)[0],))
    if _argument(node, 2, "keepdim", False):
        return pooled
    pooled.meta["shape"] = (None, shape[1], 1, 1)
    return builder.graph.call_function(torch.flatten, (pooled, 1))


def _reshape(builder: _Rebuilder, node: fx.Node) -> fx.Node | None:
    """Turn a reshape that merges everything but the batch into `flatten`, which has no channel count in it."""
    before, after = _args(node)[0].meta["val"].shape, node.meta["val"].shape
    if len(after) != 2 or len(before) < 2 or not all(isinstance(size, int) for size in before[1:]):
        return None
    features = 1
    for size in before[1:]:
        features *= size
    if after[1] != features:
        return None
    return builder.graph.call_function(torch.flatten, (builder.values[_args(node)[0]], 1))


def _slice(builder: _Rebuilder, node: fx.Node) -> fx.Node:
    dimension = _argument(node, 1, "dim", 0)
    start, end = _argument(node, 2, "start", None), _argument(node, 3, "end", None)
    part = slice(start or None, None if end == _END else end, _argument(node, 4, "step", 1))
    rank = len(_args(node)[0].meta["val"].shape)
    source: fx.Node = builder.values[_args(node)[0]]
    if part == slice(None, None, 1):
        return source
    index = (slice(None),) * (dimension % rank) + (part,)
    return builder.graph.call_function(operator.getitem, (source, index))


def _pad(builder: _Rebuilder, node: fx.Node) -> fx.Node | None:
    counts = list(_args(node)[1])
    value = _argument(node, 2 if node.target is _aten.constant_pad_nd.default else 3, "value", 0) or 0
    mode = _args(node)[2] if node.target is _aten.pad.default and len(_args(node)) > 2 else "constant"
    rank = len(_args(node)[0].meta["val"].shape)
    is_channel_pad = rank == 4 and len(counts) == 6 and not any(counts[:4])
    if not is_channel_pad or value != 0 or mode != "constant":
        return None
    return builder.call(node.name, ChannelPad(counts[4], counts[5]), (_args(node)[0],))


def _same(builder: _Rebuilder, node: fx.Node) -> fx.Node:
    value: fx.Node = builder.values[_args(node)[0]]
    return value


def _dropout(builder: _Rebuilder, node: fx.Node) -> fx.Node:
    return builder.call(node.name, nn.Dropout(_args(node)[1]), (_args(node)[0],))


def _binary(function: Callable[..., Any]) -> Callable[[_Rebuilder, fx.Node], fx.Node | None]:
    def convert(builder: _Rebuilder, node: fx.Node) -> fx.Node | None:
        if node.kwargs or not all(isinstance(a, fx.Node) and a in builder.values for a in _args(node)):
            return None
        return builder.graph.call_function(function, builder.value(_args(node)))

    return convert


def _cat(builder: _Rebuilder, node: fx.Node) -> fx.Node:
    dimension = _argument(node, 1, "dim", 0)
    return builder.graph.call_function(torch.cat, (builder.value(_args(node)[0]), dimension))


_CONVERTERS: dict[Any, Callable[[_Rebuilder, fx.Node], fx.Node | None]] = {
    _aten.conv2d.default: _conv,
    _aten.conv2d.padding: _conv,
    _aten.conv1d.default: _conv,
    _aten.conv1d.padding: _conv,
    _aten.linear.default: _linear,
    _aten.batch_norm.default: _batch_norm_exported,
    _aten._native_batch_norm_legit_no_training.default: _batch_norm_functional,
    operator.getitem: _getitem,
    _aten.relu.default: _activation(nn.ReLU),
    _aten.relu6.default: _activation(nn.ReLU6),
    _aten.hardtanh.default: _hardtanh,
    _aten.hardswish.default: _activation(nn.Hardswish),
    _aten.hardsigmoid.default: _activation(nn.Hardsigmoid),
    _aten.silu.default: _activation(nn.SiLU),
    _aten.sigmoid.default: _activation(nn.Sigmoid),
    _aten.leaky_relu.default: _activation(nn.LeakyReLU),
    _aten.max_pool2d.default: _pool(nn.MaxPool2d),
    _aten.avg_pool2d.default: _pool(nn.AvgPool2d),
    _aten.adaptive_avg_pool2d.default: _pool(nn.AdaptiveAvgPool2d),
    _aten.mean.dim: _mean,
    _aten.view.default: _reshape,
    _aten.reshape.default: _reshape,
    _aten.flatten.using_ints: _reshape,
    _aten.slice.Tensor: _slice,
    _aten.pad.default: _pad,
    _aten.constant_pad_nd.default: _pad,
    _aten.add.Tensor: _binary(operator.add),
    _aten.mul.Tensor: _binary(operator.mul),
    _aten.cat.default: _cat,
    _aten.dropout.default: _dropout,
    _aten.clone.default: _same,
    _aten.alias.default: _same,
    _aten.detach.default: _same,
    _aten.contiguous.default: _same,
}
