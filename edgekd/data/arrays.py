"""Data sets in `.npz` files: arrays of inputs and of targets, read without unpickling anything.

Unlike `numpy.load`, it compares the headers with what the members hold before it allocates an array.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from PIL import Image

from edgekd.data.archive import READ_ERRORS, open_archive
from edgekd.data.decode import MAX_TENSOR_BYTES, InputSize, Pixels, fit
from edgekd.data.images import PART_NAMES, Images, Samples, Tensors
from edgekd.data.layout import quoted
from edgekd.data.tensors import read_inputs, takes_image
from edgekd.errors import DataError
from edgekd.records import TensorSpec
from edgekd.tasks import Array, Task, describe_array, refuse

_SUFFIXES = {"train": "_train", "validation": "_val", "test": "_test"}
_CHANNELS = (1, 3)
_REPACK = "Save the arrays again with numpy.savez."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Names:
    """The names of a part's arrays: `x` by the input they are for (`''` if they name none), and `y`."""

    x: Mapping[str, str]
    y: str | None


def load_arrays(
    path: Path, input_size: InputSize | None, task: Task, inputs: tuple[TensorSpec, ...]
) -> tuple[tuple[str, ...], dict[str, Samples]]:
    """Return the class names, which are the class indices as text, and the parts of an `.npz` file.

    The file holds `x` and `y`, or `x_train`, `y_train` and perhaps the same for `val` and `test`. `x` is
    uint8 `[samples, height, width]`, with one or three channels last or second if there is a fourth axis. For a
    network that takes no image, or several inputs, `x` is what it takes, and several are named: `x_train.NAME`.
    `y` is what the task reads; a task whose targets are the teacher's outputs needs none.

    Raises:
        DataError: The arrays are others than these, or do not fit together.
    """
    arrays = _read_members(path)
    names = _part_arrays(path, arrays, needs_targets=task.source != "teacher")
    train: torch.Tensor | None = None
    targets: dict[str, torch.Tensor] = {}
    for part, found in names.items():
        if found.y is not None:
            targets[part] = task.read_targets(f"{path}: {found.y}", arrays[found.y], train)
            train = targets.get("train")
    if targets and set(targets) != set(names):
        refuse(str(path), expected="a 'y' in every part, or in none", found=quoted(sorted(arrays)), hint=_REPACK)
    parts: dict[str, Samples] = {}
    for part, found in names.items():
        parts[part] = _samples(path, part, found, arrays, input_size, inputs, targets.get(part))
        _require_same_size(path, next(iter(found.x.values())), parts)
    classes = int(train.max()) + 1 if task.source == "classes" and train is not None else 0
    return tuple(str(index) for index in range(classes)), parts


def _samples(
    path: Path,
    part: str,
    names: _Names,
    arrays: Mapping[str, Array],
    input_size: InputSize | None,
    inputs: tuple[TensorSpec, ...],
    y: torch.Tensor | None,
) -> Samples:
    is_image = set(names.x) == {""} and (not inputs or takes_image(inputs))
    x_name = next(iter(names.x.values()))
    x: torch.Tensor | tuple[torch.Tensor, ...]
    if is_image:
        x = torch.from_numpy(_pixels(path, x_name, arrays[x_name], input_size))
        count = len(x)
    else:
        x = read_inputs(path, {key: (name, arrays[name]) for key, name in names.x.items()}, inputs)
        count = len(x[0])
    if y is not None and count != len(y):
        refuse(
            f"{path}: {names.y}",
            expected=f"one label for each of the {count:,} {'images' if is_image else 'samples'} in '{x_name}'",
            found=f"{len(y):,}",
            hint=_REPACK,
        )
    ids = tuple(f"{part}/{index:08d}" for index in range(count))
    y = torch.zeros(count, 0) if y is None else y
    return Tensors(x=x, y=y, ids=ids) if isinstance(x, tuple) else Images(x=x, y=y, ids=ids)


def _require_same_size(path: Path, x_name: str, parts: Mapping[str, Samples]) -> None:
    first, last = parts["train"], list(parts.values())[-1]
    if isinstance(first, Images) and isinstance(last, Images) and last.x.shape[1:] != first.x.shape[1:]:
        refuse(
            f"{path}: {x_name}",
            expected=f"images of [channels, height, width] = {list(first.x.shape[1:])} as in training",
            found=f"{list(last.x.shape[1:])}",
            hint="Give the input size of the network, and all are scaled to it.",
        )


def _read_members(path: Path) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    with open_archive(path, max_member_bytes=MAX_TENSOR_BYTES) as archive:
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            try:
                with archive.open(info) as stream:
                    arrays[name] = _read_array(f"{path}: {name}", stream, info)
            except (*READ_ERRORS, ValueError) as error:
                raise DataError(f"{path}: {name}", expected="a numpy array", found=f"{error}", hint=_REPACK) from error
    return arrays


def _read_array(where: str, stream: IO[bytes], info: zipfile.ZipInfo) -> Array:
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"format version {version}, which plain arrays do not need")
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(stream)
    if dtype.hasobject:
        refuse(
            where,
            expected="an array of numbers",
            found="an array of pickled Python objects, which can run code when it is read",
            hint="Convert it to numbers (numpy.stack, or .astype(numpy.uint8)) and save it again.",
        )
    announced = math.prod(shape) * dtype.itemsize
    held = info.file_size - stream.tell()
    if announced != held:
        raise ValueError(f"a header that announces {announced:,} bytes before {held:,}")
    stream.seek(0)
    array: Array = np.lib.format.read_array(stream, allow_pickle=False)
    return array


def _part_arrays(path: Path, arrays: Mapping[str, Array], *, needs_targets: bool) -> dict[str, _Names]:
    """Return for each part the names of its inputs and targets."""
    is_whole = all(name.partition(".")[0] in ("x", "y") for name in arrays)
    found: dict[str, _Names] = {}
    for part, suffix in {"train": ""}.items() if is_whole else _SUFFIXES.items():
        x = {name.partition(".")[2]: name for name in arrays if name.partition(".")[0] == f"x{suffix}"}
        y = f"y{suffix}" if f"y{suffix}" in arrays else None
        if x or y:
            found[part] = _Names(x=x, y=y)
    used = {name for names in found.values() for name in (*names.x.values(), names.y) if name}
    is_complete = all(names.x and (names.y or not needs_targets) for names in found.values())
    if used != set(arrays) or "train" not in found or not is_complete:
        y, y_train = ("'y'", "'y_train'") if needs_targets else ("perhaps 'y'", "perhaps 'y_train'")
        refuse(
            str(path),
            expected=f"arrays 'x' and {y}, or 'x_train', {y_train} and perhaps the same for 'val' and 'test'",
            found=quoted(sorted(arrays), limit=8) or "none",
            hint="Rename the arrays, or leave out what is something else.",
        )
    return {part: found[part] for part in PART_NAMES if part in found}


def _pixels(path: Path, name: str, x: Array, input_size: InputSize | None) -> Pixels:
    where = f"{path}: {name}"
    if x.dtype != np.uint8 or x.ndim not in (3, 4) or 0 in x.shape:
        refuse(
            where,
            expected="uint8 images [samples, height, width(, channels)]",
            found=describe_array(x),
            hint=_remedy(x),
        )
    last = x.ndim == 4 and x.shape[3] in _CHANNELS
    second = x.ndim == 4 and x.shape[1] in _CHANNELS
    if x.ndim == 4 and last == second:
        refuse(
            where,
            expected="an axis of 1 or 3 channels, last or second",
            found=f"{describe_array(x)}, which has {'two such axes' if last else 'none'}",
            hint="Drop the alpha channel, or save x of shape [samples, height, width] for grayscale images.",
        )
    x = x[..., None] if x.ndim == 3 else x
    x = x.transpose(0, 2, 3, 1) if second else x
    channels, height, width = input_size or (x.shape[3], *x.shape[1:3])
    if (height, width, channels) == x.shape[1:]:
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    scaled = np.empty((len(x), channels, height, width), dtype=np.uint8)
    for index, image in enumerate(x):
        picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if x.shape[3] == 1 else image))
        scaled[index] = fit(picture, (channels, height, width))
    return scaled


def _remedy(x: Array) -> str:
    if x.dtype.kind == "f" and np.isnan(x).any():
        return "Remove the images that hold NaN, scale the others to 0..255 and save .astype(numpy.uint8)."
    if x.dtype.kind == "f" and x.size and x.min() >= 0 and x.max() <= 1:
        return "Save (x * 255).round().astype(numpy.uint8)."
    return "Scale x to 0..255 and save .astype(numpy.uint8), with the samples as first axis."
