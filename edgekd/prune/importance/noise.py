"""No importance at all, which every criterion has to beat."""

from __future__ import annotations

import numpy as np

from edgekd.prune.importance.criterion import Criterion, Subject
from edgekd.prune.importance.units import Floats


def _random(subject: Subject) -> Floats:
    """Return numbers drawn from the seed."""
    return np.random.default_rng(subject.seed).random(len(subject.channels.group_of))


RANDOM = Criterion(name="random", score=_random)
