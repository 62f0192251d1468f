"""Saying what an array is, and refusing it."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from edgekd.errors import DataError

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
