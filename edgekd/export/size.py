"""Predict an ONNX file's size from its channel counts, so that the search can obey a size budget."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekd.hardware.cost import Operators
from edgekd.records import Precision

# Bytes of one weight, and of what each output channel adds: a bias; for int8 also the scales of weight and bias.
_BYTES: dict[Precision, tuple[int, int]] = {"fp32": (4, 4), "fp16": (2, 2), "int8": (1, 12)}
_LAYERS = ("conv", "transposed", "depthwise", "linear")
_INDEX_BYTES = 8
# What belongs to no quantized layer stays as precise as the file otherwise is.
_SCALE_BYTES: dict[Precision, int] = {"fp32": 4, "fp16": 2, "int8": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeModel:
    """File size as bytes of weights and channels plus what the graph itself takes, which widths do not change."""

    precision: Precision
    graph_bytes: int

    def predict(self, operators: Operators) -> npt.NDArray[np.int64]:
        """Return the size in bytes of each plan's file, `[plans]`; an estimate, right to about 0.2 %."""
        size: npt.NDArray[np.int64] = content_bytes(operators, self.precision).sum(axis=1) + self.graph_bytes
        return size


def fit_size(operators: Operators, measured_bytes: int, precision: Precision) -> SizeModel:
    """Return the model that is exact for the one file that was measured.

    Args:
        operators: Those of the measured network, one plan.
        measured_bytes: The size of its file.
        precision: Of that file.
    """
    content = int(content_bytes(operators, precision)[0].sum())
    return SizeModel(precision=precision, graph_bytes=measured_bytes - content)


def content_bytes(operators: Operators, precision: Precision) -> npt.NDArray[np.int64]:
    """Return what each operator stores in a file of that precision, in bytes, `[plans, layers]`."""
    per_weight, per_channel = _BYTES[precision]
    is_layer, is_scale, is_order = (np.isin(operators.op, ops) for ops in (_LAYERS, ("scale",), ("order",)))
    if operators.repeats is not None:
        is_layer &= ~operators.repeats
    channels = np.where(is_layer, operators.out_channels, 0)
    weights = np.where(is_layer, operators.weight_elements, 0) - channels
    scales = np.where(is_scale, operators.weight_elements, 0) * _SCALE_BYTES[precision]
    orders = np.where(is_order, operators.out_channels, 0) * _INDEX_BYTES
    content: npt.NDArray[np.int64] = weights * per_weight + channels * per_channel + scales + orders
    return content
