"""What an importance criterion is, and what it may look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from edgekd.prune.groups import ChannelMap
from edgekd.prune.importance.units import Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Examples:
    """Training examples with a loss, for criteria that look at data.

    Attributes:
        batches: Inputs as the network takes them, and targets.
        loss: From what the network returns and targets to one value an example, `[batch]`.
    """

    batches: tuple[tuple[tuple[torch.Tensor, ...], torch.Tensor], ...]
    loss: Callable[[Any, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subject:
    """What is ranked, and by what: criteria that need no examples or no seed leave them alone."""

    network: fx.GraphModule
    channels: ChannelMap
    examples: Examples | None
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """A criterion by its name: `score` returns the importance of each unit, `[units]`; higher is kept."""

    name: str
    score: Callable[[Subject], Floats]
    needs_examples: bool = False
