"""ONNX operators that work on each element or reduce over axes."""

# ruff: noqa: ARG001  (every function of the table takes the node)

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from edgekd.models.onnx.values import OnnxNode, UnsupportedError, Value, is_host, to_number, to_sizes, to_tensor

Function = Callable[..., Any]


def _unary(on_tensor: Function, on_host: Function | None = None) -> Function:
    def apply(node: OnnxNode, x: Value) -> Value:
        if is_host(x) and on_host is not None:
            return on_host(x)
        return on_tensor(to_tensor(x))

    return apply


def _binary(function: Function) -> Function:
    def apply(node: OnnxNode, a: Value, b: Value) -> Value:
        if is_host(a) and is_host(b):
            return np.asarray(function(a, b))
        return function(_operand(a, b), _operand(b, a))

    return apply


def _operand(value: Value, other: Value) -> Value:
    """Return a value for arithmetic with a tensor: single numbers as Python's, which need no place in the network."""
    if is_host(value):
        return value.item() if value.ndim == 0 else to_tensor(value, other)
    return value


def _divide(a: Value, b: Value) -> Value:
    if is_host(a) and is_host(b):
        return a // b if a.dtype.kind in "iuO" and b.dtype.kind in "iuO" else a / b
    if not any(isinstance(v, float) or (isinstance(v, torch.Tensor) and v.is_floating_point()) for v in (a, b)):
        return torch.div(a, b, rounding_mode="trunc")
    return a / b


def _variadic(on_tensors: Function, on_host: Function) -> Function:
    def apply(node: OnnxNode, *values: Value) -> Value:
        result = values[0]
        for value in values[1:]:
            if is_host(result) and is_host(value):
                result = on_host(result, value)
            else:
                tensors = to_tensor(result, value if not is_host(value) else None), to_tensor(value, result)
                result = on_tensors(*tensors)
        return result

    return apply


def _mean(node: OnnxNode, *values: Value) -> Value:
    return _variadic(torch.add, np.add)(node, *values) / len(values)


def _clip(node: OnnxNode, x: Value, low: Value = None, high: Value = None) -> Value:
    bounds: list[Any] = []
    for value, name in ((low, "min"), (high, "max")):
        given = node.get(name) if value is None else float(to_number(value))
        bounds.append(None if given is None or math.isinf(given) or abs(given) > 3e38 else float(given))
    if is_host(x):
        return np.clip(x, bounds[0], bounds[1])
    if bounds == [0.0, 6.0]:
        return F.relu6(x)
    return F.relu(x) if bounds == [0.0, None] else x if bounds == [None, None] else torch.clamp(x, *bounds)


def _hard_sigmoid(node: OnnxNode, x: Value) -> Value:
    alpha, beta = node.get("alpha", 0.2), node.get("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-5) and beta == 0.5:
        return F.hardsigmoid(x)
    return torch.clamp(x * alpha + beta, 0.0, 1.0)


def _softmax(function: Function) -> Function:
    def apply(node: OnnxNode, x: Value) -> Value:
        axis = node.get("axis", -1 if node.opset >= 13 else 1) % x.dim()
        if node.opset >= 13 or axis == x.dim() - 1:
            return function(x, dim=axis)
        # Until operator set 13, everything from the axis on was one.
        return function(x.flatten(axis), dim=axis).reshape(x.shape)

    return apply


def reduction_axes(node: OnnxNode, axes: Value, rank: int) -> list[int]:
    """Return the axes an operator reduces over, from its input or, in older operator sets, its attribute."""
    given = node.get("axes") if axes is None else to_sizes(axes)
    if not given and node.get("noop_with_empty_axes", 0):
        return []
    return sorted(axis % rank for axis in given) if given else list(range(rank))


def _reduce(on_tensor: Function, on_host: Function | None = None) -> Function:
    def apply(node: OnnxNode, x: Value, axes: Value = None) -> Value:
        keep = bool(node.get("keepdims", 1))
        if is_host(x) and on_host is not None:
            return np.asarray(on_host(x, axis=tuple(reduction_axes(node, axes, x.ndim)), keepdims=keep))
        x = to_tensor(x)
        chosen = reduction_axes(node, axes, x.dim())
        return on_tensor(x, chosen, keep) if chosen else x

    return apply


def _product(x: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    for axis in reversed(axes):
        x = x.prod(axis, keepdim=keep)
    return x


def _argument_of(function: Function) -> Function:
    def apply(node: OnnxNode, x: Value) -> Value:
        if node.get("select_last_index", 0):
            raise UnsupportedError("select_last_index")
        return function(x, dim=node.get("axis", 0), keepdim=bool(node.get("keepdims", 1)))

    return apply


def _gelu(node: OnnxNode, x: Value) -> Value:
    return F.gelu(x, approximate=node.get("approximate", "none"))


def _einsum(node: OnnxNode, *values: Value) -> Value:
    return torch.einsum(node.get("equation"), *(to_tensor(value) for value in values))


def _matmul(node: OnnxNode, a: Value, b: Value) -> Value:
    return torch.matmul(to_tensor(a), to_tensor(b))


def _gemm(node: OnnxNode, a: Value, b: Value, c: Value = None) -> Value:
    a, b = (x.t() if node.get(flag, 0) else x for x, flag in ((to_tensor(a), "transA"), (to_tensor(b), "transB")))
    product = node.get("alpha", 1.0) * (a @ b)
    return product if c is None else product + node.get("beta", 1.0) * to_tensor(c)


def _where(node: OnnxNode, condition: Value, a: Value, b: Value) -> Value:
    if all(map(is_host, (condition, a, b))):
        return np.where(condition.astype(bool), a, b)
    like = next((v for v in (a, b) if not is_host(v)), None)
    return torch.where(to_tensor(condition).bool(), to_tensor(a, like), to_tensor(b, like))


ARITHMETIC: dict[str, Function] = {
    "Add": _binary(operator.add),
    "Sub": _binary(operator.sub),
    "Mul": _binary(operator.mul),
    "Div": _binary(_divide),
    "Pow": _binary(operator.pow),
    "Equal": _binary(operator.eq),
    "Greater": _binary(operator.gt),
    "GreaterOrEqual": _binary(operator.ge),
    "Less": _binary(operator.lt),
    "LessOrEqual": _binary(operator.le),
    "And": _binary(operator.and_),
    "Or": _binary(operator.or_),
    "Not": _unary(torch.logical_not, np.logical_not),
    "Neg": _unary(torch.neg, operator.neg),
    "Abs": _unary(torch.abs, np.abs),
    "Floor": _unary(torch.floor, lambda x: np.array([math.floor(v) for v in x.reshape(-1)]).reshape(x.shape)),
    "Ceil": _unary(torch.ceil, lambda x: np.array([math.ceil(v) for v in x.reshape(-1)]).reshape(x.shape)),
    "Round": _unary(torch.round),
    "Sqrt": _unary(torch.sqrt, np.sqrt),
    "Exp": _unary(torch.exp),
    "Log": _unary(torch.log),
    "Sin": _unary(torch.sin),
    "Cos": _unary(torch.cos),
    "Sign": _unary(torch.sign),
    "Reciprocal": _unary(torch.reciprocal),
    "Erf": _unary(torch.erf),
    "Relu": _unary(F.relu),
    "Sigmoid": _unary(torch.sigmoid),
    "Tanh": _unary(torch.tanh),
    "Softplus": _unary(F.softplus),
    "Softsign": _unary(F.softsign),
    "HardSwish": _unary(F.hardswish),
    "Mish": _unary(F.mish),
    "HardSigmoid": _hard_sigmoid,
    "LeakyRelu": lambda node, x: F.leaky_relu(x, node.get("alpha", 0.01)),
    "Elu": lambda node, x: F.elu(x, node.get("alpha", 1.0)),
    "Gelu": _gelu,
    "Clip": _clip,
    "Softmax": _softmax(F.softmax),
    "LogSoftmax": _softmax(F.log_softmax),
    "Sum": _variadic(torch.add, np.add),
    "Mean": _mean,
    "Min": _variadic(torch.minimum, np.minimum),
    "Max": _variadic(torch.maximum, np.maximum),
    "ReduceMean": _reduce(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceSum": _reduce(lambda x, axes, keep: x.sum(axes, keepdim=keep), np.sum),
    "ReduceMax": _reduce(lambda x, axes, keep: x.amax(axes, keepdim=keep), np.max),
    "ReduceMin": _reduce(lambda x, axes, keep: x.amin(axes, keepdim=keep), np.min),
    "ReduceProd": _reduce(_product, np.prod),
    "ReduceL2": _reduce(lambda x, axes, keep: torch.linalg.vector_norm(x, dim=axes, keepdim=keep)),
    "ReduceSumSquare": _reduce(lambda x, axes, keep: (x * x).sum(axes, keepdim=keep)),
    "ArgMax": _argument_of(torch.argmax),
    "ArgMin": _argument_of(torch.argmin),
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Einsum": _einsum,
    "Where": _where,
}
