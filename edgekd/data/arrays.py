"""Data sets in `.npz` files: arrays of images and of class indices, read without unpickling anything.

Unlike `numpy.load`, it compares the headers with what the members hold before it allocates an array.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from edgekd.data.archive import READ_ERRORS, open_archive
from edgekd.data.decode import MAX_TENSOR_BYTES, InputSize, Pixels, fit
from edgekd.data.images import PART_NAMES, Images
from edgekd.data.layout import quoted
from edgekd.errors import DataError

_Array = npt.NDArray[Any]

_SUFFIXES = {"train": "_train", "validation": "_val", "test": "_test"}
_CHANNELS = (1, 3)
_REPACK = "Save the arrays again with numpy.savez."


def load_arrays(path: Path, input_size: InputSize | None) -> tuple[tuple[str, ...], dict[str, Images]]:
    """Return the class names, which are the class indices as text, and the parts of an `.npz` file.

    The file holds `x` and `y`, or `x_train`, `y_train` and perhaps the same for `val` and `test`. `x` is
    uint8 `[samples, height, width]`, with one or three channels last or second if there is a fourth axis; `y`
    is integer `[samples]` and uses every index from 0 up.

    Raises:
        DataError: The arrays are others than these, or do not fit together.
    """
    arrays = _read_members(path)
    names = _part_arrays(path, arrays)
    labels = {part: _labels(path, y_name, arrays[y_name]) for part, (_, y_name) in names.items()}
    classes = int(labels["train"].max()) + 1
    parts: dict[str, Images] = {}
    for part, (x_name, y_name) in names.items():
        x = _pixels(path, x_name, arrays[x_name], input_size)
        if len(x) != len(labels[part]):
            _refuse(
                f"{path}: {y_name}",
                expected=f"one label for each of the {len(x):,} images in '{x_name}'",
                found=f"{len(labels[part]):,}",
                hint=_REPACK,
            )
        _require_all_classes(f"{path}: {y_name}", labels[part], classes)
        first = parts.get("train")
        if first is not None and x.shape[1:] != first.x.shape[1:]:
            _refuse(
                f"{path}: {x_name}",
                expected=f"images of [channels, height, width] = {list(first.x.shape[1:])} as in training",
                found=f"{list(x.shape[1:])}",
                hint="Give the input size of the network, and all are scaled to it.",
            )
        ids = tuple(f"{part}/{index:08d}" for index in range(len(x)))
        parts[part] = Images(x=torch.from_numpy(x), y=torch.from_numpy(labels[part]), ids=ids)
    return tuple(str(index) for index in range(classes)), parts


def _read_members(path: Path) -> dict[str, _Array]:
    arrays: dict[str, _Array] = {}
    with open_archive(path, max_member_bytes=MAX_TENSOR_BYTES) as archive:
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            try:
                with archive.open(info) as stream:
                    arrays[name] = _read_array(f"{path}: {name}", stream, info)
            except (*READ_ERRORS, ValueError) as error:
                raise DataError(f"{path}: {name}", expected="a numpy array", found=f"{error}", hint=_REPACK) from error
    return arrays


def _read_array(where: str, stream: IO[bytes], info: zipfile.ZipInfo) -> _Array:
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"format version {version}, which plain arrays do not need")
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(stream)
    if dtype.hasobject:
        _refuse(
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
    array: _Array = np.lib.format.read_array(stream, allow_pickle=False)
    return array


def _part_arrays(path: Path, arrays: Mapping[str, _Array]) -> dict[str, tuple[str, str]]:
    """Return for each part the names of its images and labels."""
    if set(arrays) == {"x", "y"}:
        return {"train": ("x", "y")}
    names = {part: (f"x{suffix}", f"y{suffix}") for part, suffix in _SUFFIXES.items()}
    found = {part: names[part] for part in PART_NAMES if set(names[part]) & set(arrays)}
    used = {name for pair in found.values() for name in pair}
    if used != set(arrays) or "train" not in found:
        _refuse(
            str(path),
            expected="arrays 'x' and 'y', or 'x_train', 'y_train' and perhaps the same for 'val' and 'test'",
            found=quoted(sorted(arrays), limit=8) or "none",
            hint="Rename the arrays, or leave out what is something else.",
        )
    return found


def _labels(path: Path, name: str, y: _Array) -> npt.NDArray[np.int64]:
    if y.ndim != 1 or y.dtype.kind not in "iu" or len(y) == 0:
        hint = "Save y.reshape(-1)." if y.ndim == 2 and y.shape[1] == 1 else "Save y.astype(numpy.int64)."
        _refuse(f"{path}: {name}", expected="integer labels [samples]", found=_describe(y), hint=hint)
    if y.min() < 0 or y.max() >= len(y):
        _refuse(
            f"{path}: {name}",
            expected="class indices from 0 up without gaps",
            found=f"{y.min()} to {y.max()} on {len(y):,} samples",
            hint="Number the classes with numpy.unique(y, return_inverse=True).",
        )
    return y.astype(np.int64)


def _require_all_classes(where: str, y: npt.NDArray[np.int64], classes: int) -> None:
    counts = np.bincount(y, minlength=classes)
    missing = np.flatnonzero(counts == 0).tolist()
    if len(counts) > classes or missing or classes < 2:
        told = f"{quoted(map(str, missing))} missing" if missing else f"labels from 0 to {len(counts) - 1}"
        _refuse(
            where,
            expected=f"every class index from 0 to {max(classes - 1, 1)}, as in training, and no other",
            found=told,
            hint="Number the classes with numpy.unique(y, return_inverse=True), the same in every part.",
        )


def _pixels(path: Path, name: str, x: _Array, input_size: InputSize | None) -> Pixels:
    where = f"{path}: {name}"
    if x.dtype != np.uint8 or x.ndim not in (3, 4) or 0 in x.shape:
        _refuse(
            where,
            expected="uint8 images [samples, height, width(, channels)]",
            found=_describe(x),
            hint=_remedy(x),
        )
    last = x.ndim == 4 and x.shape[3] in _CHANNELS
    second = x.ndim == 4 and x.shape[1] in _CHANNELS
    if x.ndim == 4 and last == second:
        _refuse(
            where,
            expected="an axis of 1 or 3 channels, last or second",
            found=f"{_describe(x)}, which has {'two such axes' if last else 'none'}",
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


def _remedy(x: _Array) -> str:
    if x.dtype.kind == "f" and np.isnan(x).any():
        return "Remove the images that hold NaN, scale the others to 0..255 and save .astype(numpy.uint8)."
    if x.dtype.kind == "f" and x.size and x.min() >= 0 and x.max() <= 1:
        return "Save (x * 255).round().astype(numpy.uint8)."
    return "Scale x to 0..255 and save .astype(numpy.uint8), with the samples as first axis."


def _describe(array: _Array) -> str:
    text = f"{array.dtype} {list(array.shape)}"
    if array.dtype.kind not in "iuf" or array.size == 0:
        return text
    if np.isnan(array).any():
        return f"{text} with NaN"
    return f"{text} with values from {array.min():.6g} to {array.max():.6g}"


def _refuse(where: str, *, expected: str, found: str, hint: str) -> NoReturn:
    raise DataError(where, expected=expected, found=found, hint=hint)
