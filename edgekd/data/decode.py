"""Turning image files into one uint8 tensor, or into one error that names the files at fault.

An image of another size than asked for is scaled so that it covers the wanted size and cut to its centre, in
one antialiased bilinear step. EXIF orientation is ignored and transparency dropped, as torchvision's
ImageFolder does: a network trained on such images has to see the same ones here.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import numpy.typing as npt
import PIL
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from edgekd.data.archive import MAX_MEMBER_BYTES, READ_ERRORS
from edgekd.data.images import chunks
from edgekd.data.layout import MAX_NAMED, Member, Sample
from edgekd.errors import DataError

InputSize = tuple[int, int, int]
OnProgress = Callable[[int, int], None]
Pixels = npt.NDArray[np.uint8]

# Raised by one whenever the same file would give other pixels: it is part of the cache's key.
DECODER_VERSION = f"1, pillow {PIL.__version__}"
MAX_PIXELS = 64 * 10**6
MAX_TENSOR_BYTES = 64 * 2**30
# PIL tries these in turn by content, never by suffix, and none of its other readers.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_CHUNK = 256
# Small images are bound by Python, where threads only wait for each other: 10,000 JPEGs of 32x32 take 0.6 s
# in one thread and 0.9 s in two. Large ones are decoded outside of Python's lock.
_THREADS = 4
_THREADED_BYTES = 16 * 2**10
_IMAGE_ERRORS = (
    *READ_ERRORS,
    SyntaxError,  # what PIL raises for a broken PNG
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    struct.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


def decode(
    where: str, samples: Sequence[Sample], input_size: InputSize | None, on_progress: OnProgress | None
) -> Tensor:
    """Return the images of all samples, uint8 `[samples, channels, height, width]`.

    Without `input_size` all images keep their size, which must be one, and the result has one channel if all
    are grayscale and three otherwise.

    Raises:
        DataError: Files that cannot be decoded, or images of several sizes; the first five are named.
    """
    pixels: Pixels | None = None
    faults: list[str] = []
    strangers: list[str] = []
    for block, results in _decoded(samples, input_size):
        for index, (sample, image) in enumerate(zip(samples[block], results, strict=True), start=block.start):
            if isinstance(image, str):
                faults.append(f"'{sample.member.source}' ({image})")
                continue
            if pixels is None:
                pixels = _allocate(where, len(samples), image.shape)
            if image.shape[1:] != pixels.shape[2:]:
                height, width = image.shape[1:]
                strangers.append(f"'{sample.member.source}' ({width}x{height})")
                continue
            if len(image) > pixels.shape[1]:
                pixels = pixels.repeat(3, axis=1)
            pixels[index] = image
        if on_progress is not None:
            on_progress(block.stop, len(samples))
    _refuse_faults(where, faults, len(samples))
    if pixels is None:
        raise ValueError("no samples to decode")
    _refuse_strangers(where, strangers, pixels.shape)
    return torch.from_numpy(pixels)


def fit(image: Image.Image, input_size: InputSize | None) -> Pixels:
    """Return the pixels of one image, uint8 `[channels, height, width]`, scaled and cut to `input_size`."""
    if image.mode[0] in "IF":
        raise ValueError("more than 8 bits a channel")
    is_gray = image.mode in ("1", "L", "LA") if input_size is None else input_size[0] == 1
    if "transparency" in image.info:
        image = image.convert("RGBA")  # PIL warns of the direct way
    image = image.convert("L" if is_gray else "RGB")
    if input_size is not None and image.size != (input_size[2], input_size[1]):
        image = _cover(image, height=input_size[1], width=input_size[2])
    array = np.asarray(image)
    return array[None] if is_gray else array.transpose(2, 0, 1)


def _cover(image: Image.Image, *, height: int, width: int) -> Image.Image:
    scale = min(image.width / width, image.height / height)
    crop_width, crop_height = scale * width, scale * height
    left, top = (image.width - crop_width) / 2, (image.height - crop_height) / 2
    box = (left, top, min(left + crop_width, image.width), min(top + crop_height, image.height))
    return image.resize((width, height), Image.Resampling.BILINEAR, box=box)


def _decode_one(member: Member, input_size: InputSize | None) -> Pixels | str:
    """Return the pixels, or in a few words why there are none."""
    if member.size_bytes > MAX_MEMBER_BYTES:
        return f"{member.size_bytes:,} bytes, more than an image has"
    try:
        with Image.open(io.BytesIO(member.read()), formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                return f"{image.width}x{image.height} pixels, more than {MAX_PIXELS:,} in all"
            return fit(image, input_size)
    except UnidentifiedImageError:
        return "not an image"
    except _IMAGE_ERRORS as error:
        return str(error) or type(error).__name__


def _decode_block(samples: Sequence[Sample], input_size: InputSize | None, block: slice) -> list[Pixels | str]:
    return [_decode_one(sample.member, input_size) for sample in samples[block]]


def _decoded(samples: Sequence[Sample], input_size: InputSize | None) -> Iterator[tuple[slice, list[Pixels | str]]]:
    work = partial(_decode_block, samples, input_size)
    blocks = list(chunks(len(samples), _CHUNK))
    mean_bytes = sum(sample.member.size_bytes for sample in samples) / max(len(samples), 1)
    if mean_bytes < _THREADED_BYTES:
        yield from ((block, work(block)) for block in blocks)
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        # One round of blocks at a time, so that a slow consumer never has more than that in memory.
        for turn in chunks(len(blocks), _THREADS):
            yield from zip(blocks[turn], pool.map(work, blocks[turn]), strict=True)


def _allocate(where: str, samples: int, shape: tuple[int, ...]) -> Pixels:
    size_bytes = samples * int(np.prod(shape))
    if size_bytes > MAX_TENSOR_BYTES:
        raise DataError(
            where,
            expected=f"at most {MAX_TENSOR_BYTES // 2**30} GiB of decoded images",
            found=f"{samples:,} of {shape[2]}x{shape[1]} pixels, {size_bytes / 2**30:.0f} GiB",
            hint="Use fewer images, or a smaller input size.",
        )
    return np.zeros((samples, *shape), dtype=np.uint8)


def _refuse_faults(where: str, faults: list[str], samples: int) -> None:
    if faults:
        raise DataError(
            where,
            expected=f"{samples:,} files that are images",
            found=f"{len(faults):,} that cannot be decoded: {_first(faults)}",
            hint="Replace or delete them.",
        )


def _refuse_strangers(where: str, strangers: list[str], shape: tuple[int, ...]) -> None:
    if strangers:
        raise DataError(
            where,
            expected=f"images of one size, {shape[3]}x{shape[2]} as the first",
            found=f"{len(strangers):,} of another size: {_first(strangers)}",
            hint="Give the input size of the network, and all are scaled to it.",
        )


def _first(texts: list[str]) -> str:
    more = len(texts) - MAX_NAMED
    return ", ".join(texts[:MAX_NAMED]) + (f" and {more:,} more" if more > 0 else "")
