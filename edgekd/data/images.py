"""What a data set is, once it is in memory: uint8 images, class indices and a stable name for every sample.

Reading files is left to `read.py`, dividing the samples to `splits.py`, feeding them to `batches.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

PART_NAMES = ("train", "validation", "test")
_HASH_SAMPLES = 4096


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Images:
    """Labelled images.

    Args:
        x: Pixels, uint8 `[samples, channels, height, width]`.
        y: Class indices, int64 `[samples]`.
        ids: One name a sample, unique in its data set, for instance `train/cat/0001.jpg`.
    """

    x: Tensor
    y: Tensor
    ids: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.x.dtype != torch.uint8 or self.x.ndim != 4:
            raise ValueError(f"x is uint8 [samples, channels, height, width], not {_describe(self.x)}")
        if self.y.dtype != torch.int64 or self.y.ndim != 1:
            raise ValueError(f"y is int64 [samples], not {_describe(self.y)}")
        if not len(self.x) == len(self.y) == len(self.ids):
            raise ValueError(f"{len(self.x)} images, {len(self.y)} labels and {len(self.ids)} ids")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def size(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        channels, height, width = self.x.shape[1:]
        return channels, height, width

    def select(self, indices: Tensor) -> Images:
        """Return the samples at `indices`, int64 `[selected]`, in that order."""
        ids = tuple(self.ids[index] for index in indices.tolist())
        return Images(x=self.x[indices], y=self.y[indices], ids=ids)

    def sample(self, count: int, seed: int) -> Images:
        """Return `count` of them, drawn without replacement; all of them, shuffled, if there are fewer."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return self.select(order[:count])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """A data set as its files divide it.

    Args:
        name: What to call it in a report: the name of its folder or file.
        classes: Class names; the position of a name is the class index.
        parts: `train` always, `validation` and `test` where the files have them.
        digest: `content_digest` of the classes and parts.
    """

    name: str
    classes: tuple[str, ...]
    parts: Mapping[str, Images]
    digest: str

    def __post_init__(self) -> None:
        unknown = sorted(set(self.parts) - set(PART_NAMES))
        if unknown or "train" not in self.parts:
            raise ValueError(f"parts are train and perhaps validation and test, not {sorted(self.parts)}")
        ordered = {part: self.parts[part] for part in PART_NAMES if part in self.parts}
        object.__setattr__(self, "parts", MappingProxyType(ordered))

    @property
    def size(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        return self.parts["train"].size


def content_digest(classes: tuple[str, ...], parts: Mapping[str, Images]) -> str:
    """Return the SHA-256 of everything a network can see in the data, and of the sample names.

    Equal digests mean equal pixels, labels, class names and sample names, wherever the files lie and whether
    they were zipped. The pixels are the decoded ones, so another JPEG decoder may give another digest.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps(["edgekd images 1", classes]).encode())
    for name in sorted(parts):
        images = parts[name]
        digest.update(json.dumps([name, list(images.x.shape), images.ids]).encode())
        digest.update(images.y.numpy().astype("<i8").tobytes())
        for block in chunks(len(images), _HASH_SAMPLES):
            digest.update(images.x[block].contiguous().numpy().data)
    return digest.hexdigest()


def chunks(length: int, size: int) -> Iterator[slice]:
    """Yield the slices that cover `length` items in blocks of at most `size`."""
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
