"""Inputs that a network takes as they are: token ids, sensor values, images that are already floats."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from edgekd.records import TensorSpec
from edgekd.tasks import Array, describe_array, refuse

_IMAGE_CHANNELS = (1, 3)


def takes_image(inputs: tuple[TensorSpec, ...]) -> bool:
    """Say whether a network takes one grayscale or RGB image, which data hold as uint8."""
    return (
        len(inputs) == 1
        and inputs[0].dtype == "float32"
        and len(inputs[0].shape) == 3
        and inputs[0].shape[0] in _IMAGE_CHANNELS
    )


def read_inputs(
    path: Path, arrays: Mapping[str, tuple[str, Array]], inputs: tuple[TensorSpec, ...]
) -> tuple[torch.Tensor, ...]:
    """Return one tensor for each input of the network, in its order.

    Args:
        path: The file, for messages.
        arrays: By the input they are for (`''` where a single one names none), each with its own name.
        inputs: What the network takes.

    Raises:
        DataError: Their number, names, shapes or types are others than the network's.
    """
    if len(inputs) == 1 and set(arrays) == {""}:
        arrays = {inputs[0].name: arrays[""]}
    if set(arrays) != {spec.name for spec in inputs}:
        first = next(iter(arrays.values()))[0].partition(".")[0]
        refuse(
            str(path),
            expected=f"for the network's {len(inputs)} inputs: "
            + ", ".join(f"'{first}.{spec.name}'" for spec in inputs)
            if inputs
            else f"one array '{first}' of images",
            found=", ".join(f"'{name}'" for name, _ in arrays.values()),
            hint="Name each array after the input it is for, as `edgekd inspect` shows them.",
        )
    tensors = tuple(_tensor(f"{path}: {arrays[spec.name][0]}", arrays[spec.name][1], spec) for spec in inputs)
    if len({len(tensor) for tensor in tensors}) > 1:
        refuse(
            str(path),
            expected="as many samples for every input",
            found=", ".join(f"{len(arrays[s.name][1]):,} in '{arrays[s.name][0]}'" for s in inputs),
            hint="Save the arrays again with numpy.savez.",
        )
    return tensors


def _tensor(where: str, array: Array, spec: TensorSpec) -> torch.Tensor:
    wanted = np.dtype(spec.dtype)
    kinds = {"f": "f", "i": "iu", "u": "iu", "b": "b"}[wanted.kind]
    is_fitting = array.ndim >= 1 and array.shape[1:] == spec.shape and array.size > 0 and array.dtype.kind in kinds
    if is_fitting and wanted.kind == "f":
        is_fitting = bool(np.isfinite(array).all())
    elif is_fitting and wanted.kind in "iu":
        is_fitting = np.iinfo(wanted).min <= int(array.min()) and int(array.max()) <= np.iinfo(wanted).max
    if not is_fitting:
        finite = "finite " if wanted.kind == "f" else ""
        refuse(
            where,
            expected=f"{finite}{spec.dtype} [samples, {', '.join(map(str, spec.shape))}], as the network takes it",
            found=describe_array(array),
            hint=f"Save .astype(numpy.{spec.dtype}) of what the network is to see: it is passed as it is.",
        )
    return torch.from_numpy(np.ascontiguousarray(array, dtype=wanted))
