"""Features in losses: maps `[batch, channels, height, width]`, tokens `[batch, tokens, channels]` or vectors."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from edgekd.errors import DistillError


def channels_of(x: torch.Tensor) -> int:
    """Return how many channels a feature has."""
    return x.shape[-1] if x.ndim == 3 else x.shape[1]


def positions(x: torch.Tensor) -> torch.Tensor:
    """Return a feature as `[batch, positions, channels]`: pixels, tokens, or the one vector there is.

    Raises:
        DistillError: It has another number of axes.
    """
    if x.ndim == 4:
        return x.flatten(2).transpose(1, 2)
    if x.ndim in (2, 3):
        return x if x.ndim == 3 else x[:, None]
    raise DistillError(
        "feature",
        expected="a map [batch, channels, height, width], tokens [batch, tokens, channels] or a vector",
        found=f"[batch, {', '.join(map(str, x.shape[1:]))}]",
        hint="Choose another layer.",
    )


def vectors(x: torch.Tensor) -> torch.Tensor:
    """Return the mean over positions, `[batch, channels]`."""
    return positions(x).mean(1)


def same_size(loss: str, student: torch.Tensor, teacher: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return both features at the smaller of their sizes; the larger map is averaged down.

    Source: Tian, Krishnan and Isola 2020, "Contrastive Representation Distillation", ICLR, whose code resizes the maps
    of every compared method so.

    Raises:
        DistillError: One is a map and the other is none, or they have different numbers of tokens.
    """
    if student.ndim == teacher.ndim == 4:
        size = min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3])
        return _averaged(student, size), _averaged(teacher, size)
    if student.ndim != teacher.ndim or (student.ndim == 3 and student.shape[1] != teacher.shape[1]):
        raise DistillError(
            f"loss '{loss}'",
            expected=f"a student feature of the form of the teacher's, {_form(teacher)}",
            found=_form(student),
            hint="The adapter 'cross-attention' turns maps into tokens and back.",
        )
    return student, teacher


def same_channels(loss: str, student: torch.Tensor, teacher: torch.Tensor) -> None:
    """Make sure that both features have as many channels.

    Raises:
        DistillError: They have not.
    """
    if channels_of(student) != channels_of(teacher):
        raise DistillError(
            f"loss '{loss}'",
            expected=f"{channels_of(teacher)} channels in the student's feature, as the teacher's has",
            found=str(channels_of(student)),
            hint='Give the loss an adapter: adapter = "1x1".',
        )


def at_most(x: torch.Tensor, points: int) -> torch.Tensor:
    """Return a map averaged down to at most `points` pixels, as nearly square as it was; tokens along their order."""
    if x.ndim == 4:
        height, width = x.shape[2:]
        scale = min(1.0, math.sqrt(points / (height * width)))
        # A product that is a whole number may come out just below it.
        rows, columns = (max(1, int(size * scale + 1e-9)) for size in (height, width))
        return _averaged(x, (rows, columns))
    if x.ndim == 3 and x.shape[1] > points:
        return F.adaptive_avg_pool1d(x.transpose(1, 2), points).transpose(1, 2)
    return x


def unit_scale(student: torch.Tensor, teacher: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `[batch, ...]` both divided by the teacher's root mean square of each example."""
    scale = teacher.flatten(1).square().mean(1).sqrt().clamp(min=1e-6)
    scale = scale.reshape(-1, *[1] * (teacher.ndim - 1))
    return student / scale, teacher / scale


def _averaged(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return x if tuple(x.shape[2:]) == size else F.adaptive_avg_pool2d(x, size)


def _form(x: torch.Tensor) -> str:
    axes = {2: "a vector [{}]", 3: "tokens [{}]", 4: "a map [{}]"}.get(x.ndim, "[{}]")
    return axes.format(", ".join(map(str, x.shape[1:])))
