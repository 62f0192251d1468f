"""The criteria by their names."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from edgekd.errors import UnknownNameError
from edgekd.prune.importance.batch_norm import BATCH_NORM_SCALE
from edgekd.prune.importance.criterion import Criterion
from edgekd.prune.importance.gradient import FISHER, TAYLOR
from edgekd.prune.importance.magnitude import L1, L2, LAMP
from edgekd.prune.importance.noise import RANDOM
from edgekd.prune.importance.similarity import FPGM

CRITERIA: Mapping[str, Criterion] = MappingProxyType(
    {criterion.name: criterion for criterion in (L1, L2, LAMP, BATCH_NORM_SCALE, FPGM, TAYLOR, FISHER, RANDOM)}
)


def load_criterion(name: str, where: str = "--importance") -> Criterion:
    """Return the criterion of that name.

    Raises:
        UnknownNameError: There is none; the nearest is suggested.
    """
    if name not in CRITERIA:
        raise UnknownNameError(where, name, CRITERIA)
    return CRITERIA[name]
