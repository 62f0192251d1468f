"""What flows through an imported ONNX graph, and the nodes it flows through.

Numbers that say something about shapes never become tensors: they stay on the host as numpy arrays, whose entries may
be symbolic sizes, so that a computation of shapes (`Shape`, `Gather`, `Concat`, ...) keeps the batch dynamic and leaves
no trace in the exported program. Everything with weights or activations is a tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

Value = Any  # torch.Tensor, or np.ndarray for what is known on the host; None for an input that is left out


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxNode:
    """One operator. `batch` is the batch size the file was made for, `None` if it is dynamic."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    opset: int
    batch: int | None

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute, or what the specification says it is when it is left out."""
        return self.attributes.get(name, default)


class UnsupportedError(Exception):
    """An operator is used in a way that has no equivalent here; the importer adds which and where."""


def is_host(value: Value) -> bool:
    """Say whether a value is known on the host."""
    return isinstance(value, np.ndarray)


def from_array(array: np.ndarray[Any, Any]) -> Value:
    """Return a stored constant: floating-point ones as float32 tensors, whole numbers and truth values on the host."""
    if array.dtype.kind in "iub":
        return array.astype(np.int64) if array.dtype.kind in "iu" else array
    return torch.from_numpy(np.array(array, dtype=np.float32))  # a copy: the file's own is read-only


def to_tensor(value: Value, like: torch.Tensor | None = None) -> torch.Tensor:
    """Return a value as a tensor, of the type of `like` if that is a floating-point one."""
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, (bool, int, float)):
        return torch.tensor(value)
    kind = like.dtype if like is not None and like.is_floating_point() else None
    return torch.as_tensor(value.tolist(), dtype=kind).reshape(tuple(value.shape))


def to_number(value: Value) -> Any:
    """Return the one number in a value."""
    return value if isinstance(value, (bool, int, float)) else value.reshape(-1)[0].item()


def to_sizes(value: Value) -> list[Any]:
    """Return whole numbers, some of which may be symbolic, as a list."""
    if isinstance(value, torch.Tensor):
        return [int(number) for number in value.flatten().tolist()]
    return list(value.reshape(-1).tolist())


def host(sizes: Any) -> np.ndarray[Any, Any]:
    """Return sizes as an array on the host."""
    plain = all(isinstance(size, int) for size in sizes)
    return np.array(list(sizes), dtype=np.int64 if plain else object)
