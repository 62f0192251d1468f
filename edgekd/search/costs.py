"""What plans cost, as the search sees it: arrays with one value for each plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekd.search.pareto import Array
from edgekd.search.space import Widths


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanCosts:
    """What plans cost, one value per plan. Latency and energy are `None` where the target has no table."""

    size_bytes: npt.NDArray[np.int64]
    macs: npt.NDArray[np.int64]
    parameters: npt.NDArray[np.int64]
    latency_us: Array | None
    energy_uj: Array | None
    memory_bytes: npt.NDArray[np.int64]


CostFunction = Callable[[Widths], PlanCosts]
