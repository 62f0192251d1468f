"""Weights that follow the clock of the training."""

from __future__ import annotations

import math
from typing import ClassVar

from edgekd.distill.schedules.base import SCHEDULES, Moment, Schedule


@SCHEDULES.register
class Constant(Schedule):
    """1 throughout."""

    name: ClassVar[str] = "constant"

    def factor(self, moment: Moment) -> float:  # noqa: ARG002  # the same at any
        """Return 1."""
        return 1.0


class _FromTo(Schedule):
    def __init__(self, *, start: float = 1.0, end: float = 0.0) -> None:
        if min(start, end) < 0:
            raise ValueError("a start and an end of at least 0")
        self.start, self.end = start, end


@SCHEDULES.register
class Linear(_FromTo):
    """From `start` to `end` in a straight line."""

    name: ClassVar[str] = "linear"

    def factor(self, moment: Moment) -> float:
        """Return the point on the line."""
        return self.start + (self.end - self.start) * moment.progress


@SCHEDULES.register
class Cosine(_FromTo):
    """From `start` to `end` along half a cosine: slowly at both ends."""

    name: ClassVar[str] = "cosine"

    def factor(self, moment: Moment) -> float:
        """Return the point on the cosine."""
        return self.end + (self.start - self.end) * 0.5 * (1.0 + math.cos(math.pi * moment.progress))


@SCHEDULES.register
class HintFirst(_FromTo):
    """Losses of features fall from `start` to `end`; losses of outputs have the rest, `1 - factor`.

    Source: Romero et al. 2015, "FitNets", ICLR, section 2.3, arXiv:1412.6550, where hints come before distillation.
    Deviation: a line from one to the other instead of two stages.
    """

    name: ClassVar[str] = "hint-first"

    def __init__(self, *, start: float = 1.0, end: float = 0.2) -> None:
        super().__init__(start=start, end=end)
        if max(start, end) > 1:
            raise ValueError("a start and an end from 0 to 1")

    def factor(self, moment: Moment) -> float:
        """Return the share of hints, or the rest."""
        share = self.start + (self.end - self.start) * moment.progress
        return share if moment.is_of_features else 1.0 - share
