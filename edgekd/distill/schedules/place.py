"""Weights that follow from the networks: how deep a layer lies, how small the student is."""

from __future__ import annotations

import math
from typing import ClassVar

from edgekd.distill.schedules.base import SCHEDULES, Moment, Schedule


@SCHEDULES.register
class ByDepth(Schedule):
    """1 where the loss suits the depth of the layer and 0 elsewhere: hints shallow, attention middle, relations deep.

    Args:
        shallow: Layers up to this depth are shallow; a stage of three ends near 0.35.
        deep: Layers beyond this depth are deep; the second of three ends near 0.65.
    """

    name: ClassVar[str] = "by-depth"

    def __init__(self, *, shallow: float = 0.4, deep: float = 0.7) -> None:
        if not 0 <= shallow <= deep <= 1:
            raise ValueError("0 <= shallow <= deep <= 1")
        self.shallow, self.deep = shallow, deep

    def factor(self, moment: Moment) -> float:
        """Return 1 or 0."""
        depth = "shallow" if moment.depth <= self.shallow else "middle" if moment.depth <= self.deep else "deep"
        return float(not moment.is_of_features or moment.suits == depth)


@SCHEDULES.register
class Capacity(Schedule):
    """A sigmoid of the student's capacity for losses of features, and the rest for losses of outputs.

    A student far smaller than its teacher cannot have its features, and learns from its outputs. Capacity is the number
    of the student's parameters over that of the teacher's: an estimate that knows nothing of how they are used.

    Args:
        middle: The capacity at which both have half.
        slope: Of the sigmoid, per unit of capacity.
    """

    name: ClassVar[str] = "capacity"

    def __init__(self, *, middle: float = 0.5, slope: float = 6.0) -> None:
        if slope < 0:
            raise ValueError("a slope of at least 0")
        self.middle, self.slope = middle, slope

    def factor(self, moment: Moment) -> float:
        """Return the sigmoid, or the rest."""
        share = 1.0 / (1.0 + math.exp(-self.slope * (moment.capacity - self.middle)))
        return share if moment.is_of_features else 1.0 - share
