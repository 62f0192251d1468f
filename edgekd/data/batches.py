"""Feeding images to a network: batches of uint8 images, and the step from there to normalized floats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from edgekd.data.augment import augment, check_augmentations
from edgekd.data.images import Images, Samples, chunks
from edgekd.errors import DataError

Batch = Tensor | tuple[Tensor, ...]

_STATISTICS_SAMPLES = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalization:
    """Mean and standard deviation of each channel, of pixels scaled to [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.mean or len(self.mean) != len(self.std):
            raise ValueError(f"one mean and one std a channel, not {len(self.mean)} and {len(self.std)}")
        if not all(std > 0 for std in self.std):
            raise ValueError(f"every std is above 0, not {self.std}")


def normalize(x: Tensor, normalization: Normalization) -> Tensor:
    """Return (x / 255 - mean) / std as float32, for uint8 `[batch, channels, height, width]`."""
    if x.dtype != torch.uint8 or x.ndim != 4 or x.shape[1] != len(normalization.mean):
        wanted = f"uint8 [batch, {len(normalization.mean)}, height, width]"
        raise ValueError(f"x is {wanted}, not {x.dtype} {list(x.shape)}")
    mean = torch.tensor(normalization.mean, device=x.device)[:, None, None]
    std = torch.tensor(normalization.std, device=x.device)[:, None, None]
    return x.to(torch.float32).div_(255.0).sub_(mean).div_(std)


def network_inputs(x: Batch, normalization: Normalization | None) -> tuple[Tensor, ...]:
    """Return what a network takes: images normalized, other inputs as they are."""
    if isinstance(x, tuple):
        return x
    if normalization is None:
        raise ValueError("images need a normalization")
    return (normalize(x, normalization),)


def channels_last(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return the inputs with images in the memory format that convolutions are fastest in."""
    return tuple(
        x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 and x.is_floating_point() else x for x in inputs
    )


def estimate_normalization(images: Images) -> Normalization:
    """Return mean and standard deviation over all pixels; meant for the training split.

    Raises:
        DataError: There are no pixels, or a channel is the same everywhere, so that it cannot be scaled.
    """
    channels, height, width = images.size
    # Sums of integers, so that the result depends neither on the order of the samples nor on rounding.
    total = torch.zeros(channels, dtype=torch.int64)
    total_squared = torch.zeros(channels, dtype=torch.int64)
    for block in chunks(len(images), _STATISTICS_SAMPLES):
        values = images.x[block].to(torch.int64)
        total += values.sum(dim=(0, 2, 3))
        total_squared += values.square().sum(dim=(0, 2, 3))
    count = len(images) * height * width
    if count == 0 or any(s * s == q * count for s, q in zip(total.tolist(), total_squared.tolist(), strict=True)):
        raise DataError(
            "normalization",
            expected="training images that differ in every channel",
            found="a channel with one value everywhere" if count else "no images",
            hint="Check the images, or give mean and std yourself.",
        )
    mean = tuple(s / count / 255 for s in total.tolist())
    # count * sum(v^2) - sum(v)^2 is the variance times count squared, exact in Python's integers.
    std = tuple(
        (q * count - s * s) ** 0.5 / count / 255 for s, q in zip(total.tolist(), total_squared.tolist(), strict=True)
    )
    return Normalization(mean=mean, std=std)


def batches(
    images: Samples,
    batch_size: int,
    *,
    generator: torch.Generator | None = None,
    augmentations: tuple[str, ...] = (),
    drop_last: bool = False,
) -> Iterator[tuple[Batch, Tensor, Tensor]]:
    """Yield uint8 images (or the inputs as they are), targets and the positions in `images`, for one pass over them.

    Args:
        images: What to pass over.
        batch_size: Samples a batch.
        generator: Shuffles and augments; without it the samples come in their order.
        augmentations: Names from `AUGMENTATIONS`; masks move with their images, and inputs that are no images stay.
        drop_last: Leave out the last batch if it is smaller.

    Raises:
        UnknownNameError: An augmentation is not known.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is at least 1, not {batch_size}")
    if augmentations and generator is None:
        raise ValueError("augmentations need a generator")
    check_augmentations(augmentations)
    return _batches(images, batch_size, generator, augmentations, drop_last=drop_last)


def _batches(
    images: Samples,
    batch_size: int,
    generator: torch.Generator | None,
    augmentations: tuple[str, ...],
    *,
    drop_last: bool,
) -> Iterator[tuple[Batch, Tensor, Tensor]]:
    order = torch.arange(len(images)) if generator is None else torch.randperm(len(images), generator=generator)
    for block in chunks(len(images), batch_size):
        index = order[block]
        if drop_last and len(index) < batch_size:
            return
        x, y = images.inputs_at(index), images.y[index]
        if generator is not None and isinstance(x, Tensor):
            x, y = _augmented(x, y, augmentations, generator)
        yield x, y, index


def _augmented(
    x: Tensor, y: Tensor, augmentations: tuple[str, ...], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Change images and, with them, the masks `[batch, height, width]` of their size."""
    if y.ndim != 3 or y.dtype != torch.int64 or y.shape[1:] != x.shape[2:]:
        return augment(x, augmentations, generator), y
    # The mask is one more channel. What moves in from outside is 0, so that masks are shifted by one and 255, which
    # is what is ignored, is 0 on the way.
    both = augment(torch.cat((x, ((y + 1) % 256).to(torch.uint8)[:, None]), 1), augmentations, generator)
    return both[:, :-1].contiguous(), (both[:, -1].to(torch.int64) - 1) % 256
