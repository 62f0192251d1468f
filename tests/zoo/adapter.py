"""The one place that knows how the library takes inputs and gives outputs.

What the library cannot do yet ends in `NotImplementedError` here or an error of its own there, and is listed in
`zoo.narrowed.NOT_YET`.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from edgekd.export.onnx.export import onnx_model
from edgekd.models.exported import export_program
from edgekd.models.rewrite import rebuild
from edgekd.quantize.prepare import calibrate
from edgekd.records import Precision, TensorSpec
from zoo.network import Inputs


def call(module: nn.Module, inputs: Inputs) -> Any:
    """Call a network of the zoo: a tuple is its arguments; a dict is them by name, or its one argument."""
    arguments, named = _arguments(module, inputs)
    return module(*arguments, **named)


def export(module: nn.Module, inputs: Inputs) -> torch.export.ExportedProgram:
    """Return the module as torch.export sees it, with a dynamic batch size."""
    arguments, named = _arguments(module, inputs)
    return export_program(module, named or arguments)


def rebuilt_from(module: nn.Module, inputs: Inputs) -> fx.GraphModule:
    """Return a network of the zoo as real modules."""
    return rebuild(export(module, inputs))


def flat(values: Any) -> tuple[torch.Tensor, ...]:
    """Return the tensors of inputs or outputs in the order of the exported program."""
    return tuple(pytree.tree_leaves(values))


def units_as_output(units: np.ndarray, node: fx.Node) -> np.ndarray:
    """Return a node's unit numbers so that they broadcast with its output."""
    assert units.ndim == len(node.meta["shape"])
    return units


def unit_axis(units: np.ndarray) -> np.ndarray:
    """Return a layer's unit numbers as a list."""
    return units.reshape(-1)


def onnx_bytes(network: fx.GraphModule, precision: Precision, inputs: tuple[torch.Tensor, ...]) -> bytes:
    """Return a network's ONNX file."""
    with torch.no_grad():
        outputs = len(flat(network(*inputs)))
    specs = tuple(
        TensorSpec(name=f"input_{i}", shape=tuple(x.shape[1:]), dtype=str(x.dtype).removeprefix("torch."))
        for i, x in enumerate(inputs)
    )
    names = tuple(f"output_{i}" for i in range(outputs))
    return onnx_model(network, precision=precision, inputs=specs, outputs=names).SerializeToString()


def calibrate_with(prepared: fx.GraphModule, batches: list[tuple[torch.Tensor, ...]]) -> None:
    """Estimate the ranges of a prepared network."""
    calibrate(prepared, batches)


def _arguments(module: nn.Module, inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(inputs, tuple):
        return inputs, {}
    names = inspect.signature(module.forward).parameters
    return ((), inputs) if set(inputs) <= set(names) else ((inputs,), {})
