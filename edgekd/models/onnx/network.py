"""Build a module from an ONNX graph, node by node.

What depends on stored values only is computed once, here. The rest becomes an fx graph whose leaves are torch's layers
and `Step`s, each of which calls one function of the tables.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from edgekd.errors import ModelError
from edgekd.models.exported import first_line
from edgekd.models.onnx.arithmetic import ARITHMETIC
from edgekd.models.onnx.layers import LAYERS, symmetric_padding
from edgekd.models.onnx.names import Names
from edgekd.models.onnx.pooling import POOLING, pad_window
from edgekd.models.onnx.reader import OnnxFile
from edgekd.models.onnx.shaping import SHAPING
from edgekd.models.onnx.values import OnnxNode, UnsupportedError, Value, from_array

FUNCTIONS = ARITHMETIC | SHAPING | POOLING
_STANDARD = ("", "ai.onnx")
# What these read besides their first input are settings, not weights.
_SETTINGS = ("Resize", "Upsample", "Pad", "Clip", "Tile", "Range")


class Step(nn.Module):
    """Call one function with what flows in and the constants beside it."""

    def __init__(self, node: OnnxNode, function: Any, values: list[Value]) -> None:
        super().__init__()
        self.node, self.function = node, function
        self.slots: list[Any] = []
        for value in values:
            if isinstance(value, torch.Tensor) and node.kind in _SETTINGS:
                self.slots.append(_Host(value.numpy()))
            elif isinstance(value, torch.Tensor) and value.dim() > 0:
                name = "weight" if "weight" not in self._parameters else f"weight_{len(self.slots)}"
                self.register_parameter(name, nn.Parameter(value.clone(), requires_grad=value.is_floating_point()))
                self.slots.append((name,))
            elif isinstance(value, torch.Tensor):
                self.slots.append(value.item())
            else:
                self.slots.append(None if isinstance(value, fx.Node) else _Host(value))
        self.flowing = [isinstance(value, fx.Node) for value in values]

    def forward(self, *inputs: Value) -> Value:
        """Return what the function returns; values on the host go through unchanged."""
        rest = iter(inputs)
        arguments: list[Any] = []
        for slot, is_flowing in zip(self.slots, self.flowing, strict=True):
            if is_flowing:
                arguments.append(next(rest))
            elif isinstance(slot, tuple):
                arguments.append(getattr(self, slot[0]))
            else:
                arguments.append(slot.value if isinstance(slot, _Host) else slot)
        return self.function(self.node, *arguments)

    def extra_repr(self) -> str:
        """Show the operator in the module's text."""
        return self.node.kind


class _Host:
    """Hides an array, or nothing at all, from what torch looks for in modules."""

    def __init__(self, value: Value) -> None:
        self.value = value


class _PadWindow(nn.Module):
    """Pad before a convolution whose sides differ, or whose padding depends on the size of its input."""

    def __init__(self, node: OnnxNode, kernel: list[int]) -> None:
        super().__init__()
        self.node, self.kernel = node, kernel

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return `x` with zeros around it."""
        padded: torch.Tensor = pad_window(self.node, x, self.kernel)
        return padded


class _Builder:
    """The state of one import."""

    def __init__(self, path: Path, file: OnnxFile) -> None:
        self.path, self.file = path, file
        self.root, self.graph, self.names = nn.Module(), fx.Graph(), Names()
        self.values: dict[str, Any] = {"": None}
        self.shared: dict[Any, str] = {}
        self.nodes = [self._node(proto) for proto in file.model.graph.node]
        self.uses = Counter(name for node in self.nodes for name in node.inputs) + Counter(file.outputs)

    def _node(self, proto: Any) -> OnnxNode:
        import onnx

        name = proto.name or next(iter(proto.output), "")
        if proto.domain not in _STANDARD or proto.op_type not in (*FUNCTIONS, *LAYERS, "Constant"):
            kind = f"{proto.domain}::{proto.op_type}" if proto.domain not in _STANDARD else proto.op_type
            raise ModelError(
                str(self.path),
                expected="operators that classifiers for edge devices use",
                found=f"the operator {kind} at node '{name}'",
                hint="Export the network from PyTorch as .pt2, or name the operator in an issue.",
            )
        attributes = {a.name: _attribute(onnx.helper.get_attribute_value(a)) for a in proto.attribute}
        sizes = self.file.inputs[0][1] if self.file.inputs else ()
        return OnnxNode(
            kind=proto.op_type,
            name=name,
            inputs=tuple(proto.input),
            outputs=tuple(proto.output),
            attributes=attributes,
            opset=self.file.opset,
            batch=sizes[0] if sizes else None,
        )

    def add(self, node: OnnxNode) -> None:
        """Put one node into the graph, or its result among the constants."""
        if node.kind == "Constant":
            self.values[node.outputs[0]] = _constant(node)
            return
        if node.outputs[0] in self.values:  # a bias that became part of the layer before it
            return
        inputs = [self.values[name] for name in node.inputs]
        if not any(isinstance(value, fx.Node) for value in inputs):
            self._keep(node, FUNCTIONS[node.kind](node, *inputs))
            return
        if node.kind in LAYERS and isinstance(inputs[0], fx.Node) and self._add_layer(node, inputs):
            return
        if node.kind not in FUNCTIONS:
            raise UnsupportedError("weights that are computed")
        flowing = tuple(value for value in inputs if isinstance(value, fx.Node))
        self._keep(node, self._call(self.names.path(node), Step(node, FUNCTIONS[node.kind], inputs), *flowing))

    def _add_layer(self, node: OnnxNode, inputs: list[Any]) -> bool:
        output = node.outputs[0]
        constants: list[Any] = [None if isinstance(value, fx.Node) else value for value in inputs]
        if any(isinstance(value, fx.Node) for value in inputs[1:]):
            return False
        if node.kind == "MatMul":
            added = self._bias_after(node, constants)
            if added is not None:
                constants.append(self.values[added[1]])
                output = added[0]
        module = LAYERS[node.kind](node, constants)
        if module is None:
            return False
        source = inputs[0]
        if node.kind == "Conv" and symmetric_padding(node, constants[1].dim() - 2) is None:
            pad = _PadWindow(node, list(constants[1].shape[2:]))
            source = self._call(self.names.path(node) + "_pad", pad, source)
        # The same weights used twice are one layer.
        key = (
            node.kind,
            node.inputs[1:],
            output if output != node.outputs[0] else "",
            str(sorted(node.attributes.items())),
        )
        if key in self.shared:
            self.values[output] = self.graph.call_module(self.shared[key], (source,))
        else:
            self.shared[key] = self.names.path(node)
            self.values[output] = self._call(self.shared[key], module, source)
        return True

    def _bias_after(self, node: OnnxNode, constants: list[Any]) -> tuple[str, str] | None:
        """Return (output, bias) of an `Add` that is all that reads a product and adds a number to each feature."""
        product, weight = node.outputs[0], constants[1]
        if self.uses[product] != 1 or not isinstance(weight, torch.Tensor) or weight.dim() != 2:
            return None
        reader = next((other for other in self.nodes if product in other.inputs), None)
        if reader is None or reader.kind != "Add":
            return None
        bias = next(name for name in reader.inputs if name != product)
        value = self.values.get(bias)
        fits = isinstance(value, torch.Tensor) and tuple(value.shape) == (weight.shape[1],)
        return (reader.outputs[0], bias) if fits else None

    def _call(self, path: str, module: nn.Module, *sources: fx.Node) -> fx.Node:
        *parents, last = path.split(".")
        owner = self.root
        for name in parents:
            if name not in owner._modules:
                owner.add_module(name, nn.Module())
            owner = owner.get_submodule(name)
        while hasattr(owner, last):
            last += "_"
        owner.add_module(last, module)
        return self.graph.call_module(".".join([*parents, last]), sources)

    def _keep(self, node: OnnxNode, result: Any) -> None:
        if isinstance(result, fx.Node) and node.kind == "Split":
            result = tuple(self.graph.call_function(_part, (result, index)) for index in range(len(node.outputs)))
        results = result if isinstance(result, tuple) else (result,)
        self.values.update(zip(node.outputs, results, strict=False))


def _part(values: Any, index: int) -> Any:
    return values[index]


def build_network(path: Path, file: OnnxFile) -> fx.GraphModule:
    """Return the graph as a module whose arguments are the graph's inputs, in their order.

    Raises:
        ModelError: An operator is not known, or used in a way that is not.
    """
    import onnx

    builder = _Builder(path, file)
    for tensor in file.model.graph.initializer:
        builder.values[tensor.name] = _stored(path, tensor, onnx.numpy_helper.to_array)
    for name, _ in file.inputs:
        builder.values[name] = builder.graph.placeholder(re.sub(r"\W|^(?=\d)", "_", name))
    for node in builder.nodes:
        try:
            builder.add(node)
        # A function meets whatever a damaged or unusual graph gives it.
        except Exception as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(
                str(path),
                expected=f"{node.kind} as classifiers use it",
                found=f"at node '{node.name}': {first_line(error)}",
                hint="Export the network from PyTorch as .pt2, or show the file in an issue.",
            ) from error
    results = tuple(builder.values[name] for name in file.outputs)
    builder.graph.output(results[0] if len(results) == 1 else results)
    return fx.GraphModule(builder.root, builder.graph, class_name="OnnxNetwork").eval()


def _stored(path: Path, tensor: Any, to_array: Any) -> Value:
    array = np.asarray(to_array(tensor))
    if array.dtype.kind not in "iubf" and array.dtype.name != "bfloat16":
        raise ModelError(
            str(path),
            expected="weights of real numbers",
            found=f"{array.dtype} in '{tensor.name}'",
            hint="Export the network with float32 weights.",
        )
    return from_array(array)


def _attribute(value: Any) -> Any:
    import onnx

    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return np.asarray(onnx.numpy_helper.to_array(value)) if isinstance(value, onnx.TensorProto) else value


def _constant(node: OnnxNode) -> Value:
    for name in ("value", "value_float", "value_int", "value_floats", "value_ints"):
        if name in node.attributes:
            return from_array(np.asarray(node.attributes[name]))
    raise UnsupportedError("neither a number nor a tensor")
