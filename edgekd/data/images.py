"""What a data set is, once it is in memory: inputs, targets and a stable name for every sample.

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
    """Images with their targets.

    Args:
        x: Pixels, uint8 `[samples, channels, height, width]`.
        y: Targets `[samples, ...]` as the task reads them; of classification, class indices, int64 `[samples]`.
        ids: One name a sample, unique in its data set, for instance `train/cat/0001.jpg`.
    """

    x: Tensor
    y: Tensor
    ids: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.x.dtype != torch.uint8 or self.x.ndim != 4:
            raise ValueError(f"x is uint8 [samples, channels, height, width], not {_describe(self.x)}")
        if self.y.ndim == 1 and self.y.dtype != torch.int64:
            raise ValueError(f"y is int64 [samples], or has more axes, not {_describe(self.y)}")
        if not len(self.x) == len(self.y) == len(self.ids):
            raise ValueError(f"{len(self.x)} images, {len(self.y)} labels and {len(self.ids)} ids")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def size(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        channels, height, width = self.x.shape[1:]
        return channels, height, width

    def inputs_at(self, indices: Tensor) -> Tensor:
        """Return the pixels of the samples at `indices`."""
        return self.x[indices]

    def select(self, indices: Tensor) -> Images:
        """Return the samples at `indices`, int64 `[selected]`, in that order."""
        ids = tuple(self.ids[index] for index in indices.tolist())
        return Images(x=self.x[indices], y=self.y[indices], ids=ids)

    def sample(self, count: int, seed: int) -> Images:
        """Return `count` of them, drawn without replacement; all of them, shuffled, if there are fewer."""
        return self.select(drawn(len(self), count, seed))

    def with_targets(self, y: Tensor) -> Images:
        """Return the same images with other targets."""
        return Images(x=self.x, y=y, ids=self.ids)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tensors:
    """Samples of one or several inputs that a network takes as they are.

    Args:
        x: The inputs in the network's order, each `[samples, ...]`.
        y: Targets `[samples, ...]`.
        ids: One name a sample.
    """

    x: tuple[Tensor, ...]
    y: Tensor
    ids: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.x or {len(self.y), *map(len, self.x)} != {len(self.ids)}:
            raise ValueError(f"{[len(x) for x in self.x]} inputs, {len(self.y)} targets and {len(self.ids)} ids")

    def __len__(self) -> int:
        return len(self.ids)

    def inputs_at(self, indices: Tensor) -> tuple[Tensor, ...]:
        """Return the inputs of the samples at `indices`."""
        return tuple(x[indices] for x in self.x)

    def select(self, indices: Tensor) -> Tensors:
        """Return the samples at `indices`, int64 `[selected]`, in that order."""
        ids = tuple(self.ids[index] for index in indices.tolist())
        return Tensors(x=self.inputs_at(indices), y=self.y[indices], ids=ids)

    def sample(self, count: int, seed: int) -> Tensors:
        """Return `count` of them, drawn without replacement; all of them, shuffled, if there are fewer."""
        return self.select(drawn(len(self), count, seed))

    def with_targets(self, y: Tensor) -> Tensors:
        """Return the same inputs with other targets."""
        return Tensors(x=self.x, y=y, ids=self.ids)


Samples = Images | Tensors


def drawn(samples: int, count: int, seed: int) -> Tensor:
    """Return the positions of `count` samples, drawn without replacement; of all, shuffled, if there are fewer."""
    return torch.randperm(samples, generator=torch.Generator().manual_seed(seed))[:count]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """A data set as its files divide it.

    Args:
        name: What to call it in a report: the name of its folder or file.
        classes: Class names, of which the position is the class index; none where targets are no class indices.
        parts: `train` always, `validation` and `test` where the files have them.
        digest: `content_digest` of the classes and parts.
    """

    name: str
    classes: tuple[str, ...]
    parts: Mapping[str, Samples]
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
        train = self.parts["train"]
        if not isinstance(train, Images):
            raise TypeError("only images have a size")  # a programmer's mistake
        return train.size


def content_digest(classes: tuple[str, ...], parts: Mapping[str, Samples]) -> str:
    """Return the SHA-256 of everything a network can see in the data, and of the sample names.

    Equal digests mean equal pixels, labels, class names and sample names, wherever the files lie and whether
    they were zipped. The pixels are the decoded ones, so another JPEG decoder may give another digest.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps(["edgekd images 1", classes]).encode())
    for name in sorted(parts):
        samples = parts[name]
        shape = list(samples.x.shape) if isinstance(samples, Images) else [_describe(x) for x in samples.x]
        digest.update(json.dumps([name, shape, samples.ids]).encode())
        if samples.y.dtype != torch.int64 or samples.y.ndim != 1:
            digest.update(_describe(samples.y).encode())
        for tensor in (samples.y, *((samples.x,) if isinstance(samples, Images) else samples.x)):
            for block in chunks(len(samples), _HASH_SAMPLES):
                digest.update(tensor[block].contiguous().numpy().data)
    return digest.hexdigest()


def chunks(length: int, size: int) -> Iterator[slice]:
    """Yield the slices that cover `length` items in blocks of at most `size`."""
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
