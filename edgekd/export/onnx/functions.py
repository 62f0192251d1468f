"""Functions of a network as ONNX operators."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx

from edgekd.export.onnx.graph import OnnxGraph, UncoveredError, require

_aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class Call:
    """A function's arguments: names of values where the network computes them, else as they stand in the network."""

    graph: OnnxGraph
    node: fx.Node
    names: dict[fx.Node, str]

    def argument(self, position: int, name: str = "", default: Any = None) -> Any:
        """Return an argument by its position or its name, values as names."""
        args = self.node.args
        given = args[position] if position < len(args) else self.node.kwargs.get(name, default)
        return self.names[given] if isinstance(given, fx.Node) else given

    def option(self, name: str, default: Any = None) -> Any:
        """Return an argument that is only ever given by its name."""
        return self.node.kwargs.get(name, default)

    @property
    def x(self) -> str:
        """The first argument, which must be a value of the network."""
        x = self.argument(0)
        require(isinstance(x, str))
        return str(x)

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The shape of the first argument."""
        source = self.node.args[0]
        require(isinstance(source, fx.Node) and "shape" in source.meta)
        assert isinstance(source, fx.Node)  # just looked
        shape: tuple[int | None, ...] = source.meta["shape"]
        return shape

    def operands(self) -> tuple[str, str]:
        """Return the names of the first two arguments; a plain number gets the type of the other one."""
        require(len(self.node.args) >= 2)
        dtype = self.types()[0]
        first, second = (self._operand(value, dtype) for value in self.node.args[:2])
        return first, second

    def types(self) -> list[torch.dtype]:
        """Return the types of the values among the first two arguments."""
        types = [a.meta.get("dtype") for a in self.node.args[:2] if isinstance(a, fx.Node)]
        require(types and None not in types)
        return [dtype for dtype in types if dtype is not None]

    def _operand(self, value: Any, dtype: torch.dtype) -> str:
        if isinstance(value, fx.Node):
            return self.names[value]
        # An integer tensor and a fraction make floats in torch, which ONNX would have to be told.
        require(isinstance(value, (int, float)) and (dtype.is_floating_point or isinstance(value, int)))
        if dtype.is_floating_point:
            return self.graph.number(float(value))
        return self.graph.constant(np.array(value, dtype=str(dtype).removeprefix("torch.")))


Emitter = Callable[[Call], str]


def _binary(name: str) -> Emitter:
    def emit(call: Call) -> str:
        types = set(call.types())
        # torch converts operands of two types, and divides integers into fractions.
        require(not call.node.kwargs and len(types) == 1)
        require(name != "Div" or all(dtype.is_floating_point for dtype in types))
        return call.graph.add(name, *call.operands())

    return emit


def _reversed_subtraction(call: Call) -> str:
    require(len(call.node.args) == 2 and not call.node.kwargs)
    first, second = call.operands()
    return call.graph.add("Sub", second, first)


def _flatten(call: Call) -> str:
    require(call.argument(1, "start_dim", 0) == 1 and call.argument(2, "end_dim", -1) in (-1, len(call.shape) - 1))
    return call.graph.add("Flatten", call.x, axis=1)


def _concatenate(call: Call) -> str:
    tensors = call.node.args[0]
    assert isinstance(tensors, (list, tuple))  # what `torch.cat` takes
    names = [call.names[t] for t in tensors if isinstance(t, fx.Node)]
    require(len(names) == len(tensors))
    return call.graph.add("Concat", *names, axis=call.argument(1, "dim", 0))


def _permute(call: Call) -> str:
    return call.graph.add("Transpose", call.x, perm=list(call.argument(1, "dims")))


def _axes(operator_name: str) -> Emitter:
    def emit(call: Call) -> str:
        axes = call.argument(1, "dim")
        return call.graph.add(
            operator_name, call.x, call.graph.integers(*(axes if isinstance(axes, tuple) else (axes,)))
        )

    return emit


def _select(call: Call) -> str:
    index = call.graph.constant(np.array(call.argument(2, "index"), dtype=np.int64))
    return call.graph.add("Gather", call.x, index, axis=call.argument(1, "dim"))


def _reduction(operator_name: str) -> Emitter:
    def emit(call: Call) -> str:
        require(call.option("ord", 2) == 2)
        axes = call.graph.integers(*call.argument(1, "dim"))
        return call.graph.add(operator_name, call.x, axes, keepdims=int(call.argument(2, "keepdim", False)))

    return emit


def _softmax(operator_name: str) -> Emitter:
    return lambda call: call.graph.add(operator_name, call.x, axis=call.argument(1, "dim"))


def _attention(call: Call) -> str:
    """Write attention out, as equation 1 of Vaswani et al. 2017, arXiv:1706.03762, with an optional mask."""
    graph, rank = call.graph, len(call.shape)
    query, key, value = (call.argument(position) for position in range(3))
    mask, scale = call.argument(3, "attn_mask"), call.option("scale")
    require(scale is not None and scale > 0)
    axes = list(range(rank))
    axes[-2:] = axes[-1], axes[-2]
    # The scale is shared by both factors, so that neither product overflows in fp16.
    root = graph.number(math.sqrt(scale))
    scores = graph.add(
        "MatMul", graph.add("Mul", query, root), graph.add("Mul", graph.add("Transpose", key, perm=axes), root)
    )
    if call.option("is_causal", False):
        scores = graph.add("Add", scores, graph.constant(_causal_mask(call)))
    if mask is not None:
        given = call.node.kwargs.get("attn_mask")
        require(isinstance(given, fx.Node) and given.meta["dtype"].is_floating_point)
        scores = graph.add("Add", scores, mask)
    return graph.add("MatMul", graph.add("Softmax", scores, axis=-1), value)


def _causal_mask(call: Call) -> torch.Tensor:
    """Return what to add to scores so that no query sees a key behind it, `[queries, keys]`."""
    sizes = [node.meta["shape"][-2] for node in call.node.args[:2] if isinstance(node, fx.Node)]
    require(len(sizes) == 2 and None not in sizes)
    return torch.full(sizes, float("-inf")).triu(1)


def _size(call: Call) -> str:
    axis = call.argument(1)
    return call.graph.add("Shape", call.x, start=axis, end=axis + 1)


def _expand(call: Call) -> str:
    """Repeat along the first axis; the other sizes are kept."""
    size, *kept = call.node.args[1:]
    require(isinstance(size, fx.Node) and all(value == -1 for value in kept))
    assert isinstance(size, fx.Node)  # just looked
    sizes = call.graph.add("Concat", call.names[size], call.graph.integers(*[1] * len(kept)), axis=0)
    return call.graph.add("Expand", call.x, sizes)


def _convert(call: Call) -> str:
    dtype = call.argument(1, "dtype")
    require(isinstance(dtype, torch.dtype))
    return call.graph.cast(call.x, torch.float16 if call.graph.in_half and dtype.is_floating_point else dtype)


def _at_least(call: Call) -> str:
    require(isinstance(call.argument(1, "min"), (int, float)) and call.argument(2, "max") is None)
    return call.graph.add("Max", *call.operands())


def _nearest(call: Call) -> str:
    """Enlarge an image by whole numbers: `[batch, channels, height, width]`."""
    factors = call.argument(2, "scale_factors")
    require(len(call.shape) == 4 and factors and all(factor == int(factor) for factor in factors))
    scales = call.graph.fixed(np.array([1, 1, *factors], dtype=np.float32))
    options = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return call.graph.add("Resize", call.x, "", scales, **options)


FUNCTIONS: dict[Any, Emitter] = {
    operator.add: _binary("Add"),
    operator.sub: _binary("Sub"),
    operator.mul: _binary("Mul"),
    operator.truediv: _binary("Div"),
    torch.matmul: _binary("MatMul"),
    _aten.maximum.default: _binary("Max"),
    _aten.clamp_min.default: _at_least,
    _aten.upsample_nearest2d.vec: _nearest,
    _aten.rsub.Scalar: _reversed_subtraction,
    torch.flatten: _flatten,
    torch.cat: _concatenate,
    torch.permute: _permute,
    torch.squeeze: _axes("Squeeze"),
    torch.unsqueeze: _axes("Unsqueeze"),
    torch.select: _select,
    torch.mean: _reduction("ReduceMean"),
    torch.sum: _reduction("ReduceSum"),
    torch.amax: _reduction("ReduceMax"),
    torch.linalg.vector_norm: _reduction("ReduceL2"),
    torch.softmax: _softmax("Softmax"),
    torch.log_softmax: _softmax("LogSoftmax"),
    F.scaled_dot_product_attention: _attention,
    _aten.sym_size.int: _size,
    "expand": _expand,
    _aten.to.dtype: _convert,
    _aten._to_copy.default: _convert,
}


def emit_function(call: Call) -> str:
    """Append what a function computes and return the name of its output.

    Raises:
        UncoveredError: The function has no form here.
    """
    emit = FUNCTIONS.get(call.node.target)
    if emit is None:
        raise UncoveredError
    return emit(call)
