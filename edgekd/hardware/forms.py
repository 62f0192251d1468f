"""How the time of one operator follows from its work: the forms of the cost models in `profiles/`.

All forms share their coefficients, microseconds for each unit of a feature of `operators.FEATURES`, and differ only
in how computing and moving data overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType

import numpy as np

from edgekd.hardware.operators import (
    LAUNCH_FEATURES,
    MAC_FEATURES,
    MOVED_FEATURES,
    Floats,
    Operators,
    features_by_operator,
)

_MACS = slice(0, len(MAC_FEATURES))
_MOVED = slice(_MACS.stop, _MACS.stop + len(MOVED_FEATURES))
_LAUNCHES = slice(_MOVED.stop, _MOVED.stop + len(LAUNCH_FEATURES))


def _linear(compute_us: Floats, moving_us: Floats, launch_us: Floats) -> Floats:
    """Return the sum: nothing overlaps."""
    total: Floats = compute_us + moving_us + launch_us
    return total


def _roofline(compute_us: Floats, moving_us: Floats, launch_us: Floats) -> Floats:
    """Return the slower of computing and moving data, which overlap, plus the launch, which does not.

    Source: Williams, Waterman and Patterson, Roofline, CACM 52 (4), 2009, https://doi.org/10.1145/1498765.1498785;
    the constant time a launch is our addition.
    """
    total: Floats = np.maximum(compute_us, moving_us) + launch_us
    return total


FORMS: MappingProxyType[str, Callable[[Floats, Floats, Floats], Floats]] = MappingProxyType(
    {"linear": _linear, "roofline": _roofline}
)


def operator_times_us(form: str, coefficients_us: Sequence[float] | Floats, work: Floats) -> Floats:
    """Return the time of operators in microseconds, `[...]`.

    Args:
        form: One of `FORMS`.
        coefficients_us: Microseconds for each unit of a feature, `[features]`.
        work: Features of the operators, `[..., features]`.
    """
    rates = np.asarray(coefficients_us, dtype=np.float64)
    parts = (work[..., part] @ rates[part] for part in (_MACS, _MOVED, _LAUNCHES))
    return FORMS[form](*parts)


def latency_by_operator_us(form: str, coefficients_us: Sequence[float], operators: Operators) -> Floats:
    """Return the predicted time of each operator of each plan in microseconds, `[plans, layers]`."""
    return operator_times_us(form, coefficients_us, features_by_operator(operators))
