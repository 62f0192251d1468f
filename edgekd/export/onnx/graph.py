"""An ONNX graph under construction."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from edgekd.records import TensorSpec

OPSET = 18
IR_VERSION = 10
_LARGEST_HALF = float(np.finfo(np.float16).max)
_ELEMENT_TYPES = {
    torch.float32: TensorProto.FLOAT,
    torch.float16: TensorProto.FLOAT16,
    torch.bool: TensorProto.BOOL,
    torch.uint8: TensorProto.UINT8,
    torch.int8: TensorProto.INT8,
    torch.int32: TensorProto.INT32,
    torch.int64: TensorProto.INT64,
}


class UncoveredError(Exception):
    """There is no direct form for an operator, or for what it is asked to do."""


def require(condition: object) -> None:
    """Raise `UncoveredError` unless the condition holds."""
    if not condition:
        raise UncoveredError


def short_name(number: int) -> str:
    """Return the name of a value by its number, with as few letters as there are."""
    return f"_{np.base_repr(number, 36).lower()}"


class OnnxGraph:
    """Nodes in the order they run, constants stored once, short names.

    With `in_half`, floating constants are stored as fp16. While `label` is set, values and nodes get names that
    begin with it and a slash; without one nodes have none.
    """

    def __init__(self, *, in_half: bool = False) -> None:
        self.in_half = in_half
        self.label = ""
        self._nodes: list[Any] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._parameters: dict[tuple[torch.Tensor, tuple[int, ...], tuple[int, ...]], str] = {}
        self._tensors: list[Any] = []
        self._values = 0
        self._renamed: dict[str, str] = {}

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Append a node and return the name of its output; an absent optional input is an empty name."""
        name = output or self._fresh()
        node = helper.make_node(operator, inputs, [name], name=name if self.label else None)
        # Sorted, because the order of keyword arguments is the caller's habit.
        node.attribute.extend(helper.make_attribute(key, attributes[key]) for key in sorted(attributes))
        self._nodes.append(node)
        return name

    def parameter(self, value: torch.Tensor, view: torch.Tensor | None = None) -> str:
        """Return the name of a tensor of the network; it is stored once, and equal ones of other layers beside it.

        What pruning makes unequal must not share its room before, or the file's size could not be predicted. An
        operator that wants the tensor in another shape, or transposed, gives that `view` of it.
        """
        stored = value if view is None else view
        key = (value, tuple(stored.shape), stored.stride())
        if key not in self._parameters:
            self._parameters[key] = self._store(self._as_stored(stored))
        return self._parameters[key]

    def constant(self, value: torch.Tensor | np.ndarray[Any, Any]) -> str:
        """Return the name of a constant; equal ones are stored once."""
        return self.fixed(self._as_stored(value))

    def fixed(self, array: np.ndarray[Any, Any]) -> str:
        """Return the name of a constant whose type does not depend on `in_half`."""
        key = (str(array.dtype), tuple(array.shape), hashlib.sha256(array.tobytes()).digest())
        if key not in self._constants:
            self._constants[key] = self._store(array)
        return self._constants[key]

    def _as_stored(self, value: torch.Tensor | np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        array = value.detach().contiguous().numpy() if isinstance(value, torch.Tensor) else np.asarray(value, order="C")
        if self.in_half and array.dtype.kind == "f":
            # Numbers that stand for "none of it", as in masks, are beyond fp16: infinity times zero would be no number.
            array = np.where(np.isfinite(array), array.clip(-_LARGEST_HALF, _LARGEST_HALF), array).astype(np.float16)
        return array

    def _store(self, array: np.ndarray[Any, Any]) -> str:
        name = self._fresh()
        self._tensors.append(numpy_helper.from_array(array, name))
        return name

    def integers(self, *values: int) -> str:
        """Return the name of a list of sizes, axes or indices."""
        return self.constant(np.array(values, dtype=np.int64))

    def number(self, value: float) -> str:
        """Return the name of a single floating number."""
        return self.constant(np.array(value, dtype=np.float32))

    def cast(self, x: str, dtype: torch.dtype, *, output: str = "") -> str:
        """Convert a value."""
        return self.add("Cast", x, output=output, to=_ELEMENT_TYPES[dtype])

    def rename(self, value: str, name: str) -> None:
        """Give a value the name of an output; a value that has one, or is an input, is copied."""
        produced = any(value in node.output for node in self._nodes)
        if not produced:
            self.add("Identity", self._renamed.get(value, value), output=name)
            return
        self._renamed[value] = name
        for node in self._nodes:
            node.input[:] = [name if known == value else known for known in node.input]
            node.output[:] = [name if known == value else known for known in node.output]

    def model(self, inputs: Sequence[TensorSpec], outputs: Sequence[tuple[str, torch.dtype]]) -> Any:
        """Return the `onnx.ModelProto`; the first axis of every input and output is the batch."""
        given = [
            helper.make_tensor_value_info(spec.name, _ELEMENT_TYPES[getattr(torch, spec.dtype)], ["batch", *spec.shape])
            for spec in inputs
        ]
        made = [helper.make_tensor_value_info(name, _ELEMENT_TYPES[dtype], None) for name, dtype in outputs]
        graph = helper.make_graph(self._nodes, "network", given, made, initializer=self._tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        model.producer_name = "edgekd"
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        del model.graph.output[:]
        model.graph.output.extend(inferred.graph.output)
        return model

    def _fresh(self) -> str:
        self._values += 1
        name = short_name(self._values)
        return f"{self.label}/{name}" if self.label else name
