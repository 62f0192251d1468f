"""Saying what an array or an output is, and refusing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from edgekd.errors import DataError, ModelError
from edgekd.records import TensorSpec

if TYPE_CHECKING:
    from edgekd.tasks.task import Targets

Array = npt.NDArray[Any]


def describe_array(array: Array) -> str:
    """Return type, shape and range of an array, for instance `float32 [10, 3] with values from 0 to 1`."""
    text = f"{array.dtype} {list(array.shape)}"
    if array.dtype.kind not in "iuf" or array.size == 0:
        return text
    if np.isnan(array).any():
        return f"{text} with NaN"
    return f"{text} with values from {array.min():.6g} to {array.max():.6g}"


def refuse(where: str, *, expected: str, found: str, hint: str) -> NoReturn:
    """Raise the `DataError` of an array that cannot be used."""
    raise DataError(where, expected=expected, found=found, hint=hint)


def require_vector(model: str, output: TensorSpec, targets: Targets, *, axis: str, hint: str) -> None:
    """Make sure that a network gives a vector, of the size of the targets.

    Args:
        model: Its file, for messages.
        output: What it gives, without the batch.
        targets: The task's, if there are any.
        axis: What the vector is of, as `values`.
        hint: What to do about targets of another size.

    Raises:
        ModelError: It gives something else than a vector.
        DataError: The targets have another size.
    """
    if len(output.shape) != 1:
        raise ModelError(
            model,
            expected=f"an output of shape [batch, {axis}]",
            found=f"[{', '.join(map(str, ('batch', *output.shape)))}]",
            hint="Choose another --task: docs/tasks.md.",
        )
    for part, y in targets.parts.items():
        if y.shape[1:] != output.shape:
            raise DataError(
                f"{targets.where}, {part}",
                expected=f"{output.shape[0]} {axis} a sample, as many as {model} has outputs",
                found=str(y.shape[1]),
                hint=hint,
            )
