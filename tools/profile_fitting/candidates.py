"""The forms that cost models are tried in, and how their coefficients are fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares, nnls

from edgekd.hardware.forms import operator_times_us
from edgekd.hardware.operators import (
    FEATURES,
    LAUNCH_FEATURES,
    MAC_FEATURES,
    MOVED_FEATURES,
    Operators,
    features_by_operator,
)
from profile_fitting.networks import Measured

Floats = npt.NDArray[np.float64]
Networks = Sequence[Measured]
Ties = tuple[tuple[str, ...], ...]

# A residual of ln(predicted / measured) beyond this pulls no more than in proportion, so that one network that does
# not fit the form (VGG-16, AlexNet) does not bend the rates of the others.
_ROBUST_BEYOND = 0.15
# Of the prior on ln(rate), in squared residuals: the error of one network by 5 % costs what a rate that is twice its
# prior does. It decides only what the networks leave open.
_PRIOR_WEIGHT = 0.02
# Where the prior expects the time of each kind of work, in times of the networks' median rate. From here the fit of a
# roofline starts, and here stays what the networks do not have.
_PRIOR = {
    "pointwise_gmacs": 0.85,
    "spatial_gmacs": 0.5,
    "winograd_gmacs": 0.5,
    "stem_gmacs": 1.0,
    "depthwise_gmacs": 3.3,
    "linear_gmacs": 2.0,
    "activation_melements": 1 / 3,
    "weight_melements": 1 / 3,
    "compute_launches": 0.2,
    "other_launches": 0.1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A form with the features that share a rate; features in no tie get none."""

    name: str
    form: str
    ties: Ties

    def fit(self, networks: Networks, given: Mapping[str, float] | None = None) -> Floats:
        """Return coefficients for the networks, `[features]`; those in `given` are kept."""
        solve = _fit_linear if self.form == "linear" else _fit_roofline
        return solve(networks, self.ties, given or {})

    def predict(self, coefficients: Floats, networks: Networks) -> Floats:
        """Return predictions in microseconds, `[networks]`."""
        work, starts = stack(networks)
        result: Floats = np.add.reduceat(operator_times_us(self.form, coefficients, work), starts)
        return result


@cache
def _work(operators: Operators) -> Floats:
    # Operators are compared by identity; the same networks are stacked in every held-out fit.
    work: Floats = features_by_operator(operators)[0]
    return work


def stack(networks: Networks) -> tuple[Floats, npt.NDArray[np.intp]]:
    """Return the work of all operators of all networks, `[operators, features]`, and where each network starts."""
    works = [_work(network.operators) for network in networks]
    return np.concatenate(works), np.cumsum([0, *map(len, works[:-1])])


def latency_features(networks: Networks) -> Floats:
    """Return `[networks, features]`."""
    work, starts = stack(networks)
    result: Floats = np.add.reduceat(work, starts)
    return result


def latencies_us(networks: Networks) -> Floats:
    """Return what was measured, `[networks]`."""
    return np.array([network.latency_us for network in networks])


def relative_nnls(columns: Floats, values: Floats, shares: Floats | None = None) -> Floats:
    """Return non-negative coefficients with the least sum of squared relative errors.

    With `shares` they explain only that share of each value.
    """
    scale = np.maximum(np.abs(columns).max(axis=0), 1e-12)
    wanted = np.ones(len(values)) if shares is None else shares
    coefficients, _ = nnls(columns / scale / values[:, None], wanted)
    result: Floats = coefficients / scale
    return result


def _expand(ties: Ties, given: Mapping[str, float]) -> tuple[Floats, Floats]:
    """Return which features each tie sets, `[ties, features]`, and the coefficients that are given, `[features]`."""
    sets = np.array([[float(name in tie and name not in given) for name in FEATURES] for tie in ties])
    return sets[sets.any(axis=1)], np.array([given.get(name, 0.0) for name in FEATURES])


def _fit_linear(networks: Networks, ties: Ties, given: Mapping[str, float]) -> Floats:
    sets, kept = _expand(ties, given)
    columns, measured = latency_features(networks), latencies_us(networks)
    left = np.maximum(measured - columns @ kept, 0.0)
    tied = columns @ sets.T
    rates = relative_nnls(tied, measured, left / measured)
    # Work that no network does is not free: as in the roofline, it costs what the prior expects.
    result: Floats = np.where(tied.any(axis=0), rates, _prior_rates(networks, sets)) @ sets + kept
    return result


def _fit_roofline(networks: Networks, ties: Ties, given: Mapping[str, float]) -> Floats:
    sets, kept = _expand(ties, given)
    work, starts = stack(networks)
    log_measured = np.log(latencies_us(networks))
    prior = np.log(_prior_rates(networks, sets))

    def coefficients(logs: Floats) -> Floats:
        result: Floats = np.exp(logs) @ sets + kept
        return result

    def residuals(logs: Floats) -> Floats:
        times = np.add.reduceat(operator_times_us("roofline", coefficients(logs), work), starts)
        return np.concatenate([np.log(times) - log_measured, np.sqrt(_PRIOR_WEIGHT) / 2 * (logs - prior)])

    def slopes(logs: Floats) -> Floats:
        parts = work * coefficients(logs)
        macs, moved = len(MAC_FEATURES), len(MAC_FEATURES) + len(MOVED_FEATURES)
        is_computing = parts[:, :macs].sum(axis=1) >= parts[:, macs:moved].sum(axis=1)
        parts[~is_computing, :macs] = 0.0
        parts[is_computing, macs:moved] = 0.0
        by_network = np.add.reduceat(parts, starts)
        by_log = (by_network / by_network.sum(axis=1, keepdims=True)) @ sets.T
        return np.concatenate([by_log, np.sqrt(_PRIOR_WEIGHT) / 2 * np.eye(len(logs))])

    solution = least_squares(residuals, prior, jac=slopes, loss="soft_l1", f_scale=_ROBUST_BEYOND, max_nfev=300)
    return coefficients(solution.x)


def _prior_rates(networks: Networks, sets: Floats) -> Floats:
    """Return where the fit starts, `[ties]`: the networks' median time for each unit of work, in fixed proportions."""
    columns, measured = latency_features(networks), latencies_us(networks)
    macs, moved = len(MAC_FEATURES), len(MAC_FEATURES) + len(MOVED_FEATURES)
    per_unit = [
        *[np.median(measured / columns[:, :macs].sum(axis=1))] * macs,
        *[np.median(measured / columns[:, macs:moved].sum(axis=1))] * len(MOVED_FEATURES),
        *[np.median(measured / columns[:, moved:].sum(axis=1))] * len(LAUNCH_FEATURES),
    ]
    rates = np.array(per_unit) * [_PRIOR[name] for name in FEATURES]
    # A tie starts where its first feature does.
    return np.array([rates[np.flatnonzero(row)[0]] for row in sets])


_LAUNCHES: Ties = (("compute_launches",), ("other_launches",))
_MOVED: Ties = (("activation_melements", "weight_melements"),)
_SPATIAL = ("spatial_gmacs", "winograd_gmacs")
_OTHER: Ties = (("stem_gmacs",), ("depthwise_gmacs",))
_LINEAR: Ties = (("linear_gmacs",),)
_POINTWISE: Ties = (("pointwise_gmacs",),)
_CLASSES: Mapping[str, Ties] = {
    # One rate for all that runs as one matrix product.
    "dense": (("pointwise_gmacs", *_SPATIAL, "stem_gmacs", "linear_gmacs"), ("depthwise_gmacs",)),
    # The same without the first layer, whose few channels leave vector lanes empty.
    "matrix": (("pointwise_gmacs", *_SPATIAL, "linear_gmacs"), *_OTHER),
    "spatial": (*_POINTWISE, _SPATIAL, *_OTHER, *_LINEAR),
    "winograd": (*_POINTWISE, *((name,) for name in _SPATIAL), *_OTHER, *_LINEAR),
}


def candidates(*classes: str) -> tuple[Candidate, ...]:
    """Return the linear and the roofline form with each of the ways to share rates, named `form-classes`."""
    found = []
    for name in classes:
        # Time for activations only is what a sum can tell from its other parts.
        found.append(_candidate("linear", name, (("activation_melements",),)))
        found.append(_candidate("roofline", name, _MOVED))
    return tuple(found)


def _candidate(form: str, classes: str, moved: Ties) -> Candidate:
    return Candidate(name=f"{form}-{classes}", form=form, ties=(*_CLASSES[classes], *moved, *_LAUNCHES))


# Computing at one rate, depthwise at another, and launches: for GPUs that hide moving data behind them.
LAUNCH_BOUND = Candidate(name="linear-launches", form="linear", ties=(*_CLASSES["dense"], *_LAUNCHES))
