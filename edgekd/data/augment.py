"""Random changes to training images that leave their class alone, on whole batches of uint8 images.

All randomness comes from the generator that is passed in.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekd.errors import UnknownNameError

_PAD_DIVISOR = 8


def augment(x: Tensor, names: tuple[str, ...], generator: torch.Generator) -> Tensor:
    """Return changed copies of the images `[batch, channels, height, width]`, applying `names` in turn.

    Raises:
        UnknownNameError: A name is not in `AUGMENTATIONS`.
    """
    check_augmentations(names)
    for name in names:
        x = AUGMENTATIONS[name](x, generator)
    return x


def check_augmentations(names: tuple[str, ...]) -> None:
    """Raise `UnknownNameError` for the first name that is not in `AUGMENTATIONS`."""
    for name in names:
        if name not in AUGMENTATIONS:
            raise UnknownNameError("augmentation", name, AUGMENTATIONS)


def random_crop(x: Tensor, generator: torch.Generator) -> Tensor:
    """Move each image by up to an eighth of its height and width, filling with zeros.

    Images below 8 pixels stay as they are in that direction.
    """
    batch, _, height, width = x.shape
    pad_height, pad_width = height // _PAD_DIVISOR, width // _PAD_DIVISOR
    padded = F.pad(x, (pad_width, pad_width, pad_height, pad_height))
    # A view of every possible crop; indexing then copies one of them an image.
    crops = padded.unfold(2, height, 1).unfold(3, width, 1)
    top = _integers(2 * pad_height + 1, batch, generator).to(x.device)
    left = _integers(2 * pad_width + 1, batch, generator).to(x.device)
    return crops[torch.arange(batch, device=x.device), :, top, left]


def random_flip(x: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability one half."""
    is_flipped = _integers(2, len(x), generator).to(x.device).bool()
    return torch.where(is_flipped[:, None, None, None], x.flip(3), x)


def _integers(high: int, count: int, generator: torch.Generator) -> Tensor:
    return torch.randint(0, high, (count,), generator=generator, device=generator.device)


AUGMENTATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "crop": random_crop,
    "flip": random_flip,
}
