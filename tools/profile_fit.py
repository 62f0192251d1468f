"""Fit cost models to measured networks, and find out by holding networks out how far they can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from profile_sources import Measured
from scipy.optimize import nnls
from scipy.stats import spearmanr

from edgekd.hardware.operators import FEATURES, MAC_FEATURES, elements, features
from edgekd.hardware.profile import Check, Coverage, HeldOutError

Floats = npt.NDArray[np.float64]
Networks = Sequence[Measured]
Fit = Callable[[Networks], Floats]
Predict = Callable[[Floats, Networks], Floats]
Ties = tuple[tuple[str, ...], ...]

_INSIDE = 0.8
_WIDENINGS = np.arange(1.0, 6.0, 0.05)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Coefficients from all networks, and predictions for each one from fits that had not seen it."""

    coefficients: Floats
    leave_one_out: Floats
    leave_family_out: Floats
    leave_size_out: Floats


def latency_features(networks: Networks) -> Floats:
    """Return `[networks, features]`."""
    return np.concatenate([features(network.operators) for network in networks])


def latencies_us(networks: Networks) -> Floats:
    """Return what was measured, `[networks]`."""
    return np.array([network.latency_us for network in networks])


def energies_uj(networks: Networks) -> Floats:
    """Return what was measured, `[networks]`; all of them have an energy."""
    return np.array([network.energy_uj for network in networks], dtype=float)


def relative_nnls(columns: Floats, values: Floats, shares: Floats | None = None) -> Floats:
    """Return non-negative coefficients with the least sum of squared relative errors.

    With `shares` they explain only that share of each value.
    """
    scale = np.maximum(np.abs(columns).max(axis=0), 1e-12)
    wanted = np.ones(len(values)) if shares is None else shares
    coefficients, _ = nnls(columns / scale / values[:, None], wanted)
    result: Floats = coefficients / scale
    return result


def fit_latency(networks: Networks, ties: Ties) -> Floats:
    """Return a coefficient for each feature; tied features share one, features in no tie get none."""
    names = list(FEATURES)
    groups = np.array([[float(name in tie) for name in names] for tie in ties])
    shared = relative_nnls(latency_features(networks) @ groups.T, latencies_us(networks))
    result: Floats = shared @ groups
    return result


def predict_latency(coefficients: Floats, networks: Networks) -> Floats:
    """Return predictions in microseconds, `[networks]`."""
    result: Floats = latency_features(networks) @ coefficients
    return result


def fit_with_launches(networks: Networks, ties: Ties, launches: Floats) -> Floats:
    """Return coefficients of which those of launches are given and the others fitted to what they leave.

    Args:
        networks: The measured networks.
        ties: The features to fit, as in `fit_latency`.
        launches: Coefficients `[features]` of which only those of launches are used.
    """
    names = list(FEATURES)
    groups = np.array([[float(name in tie) for name in names] for tie in ties])
    given = np.where([name.endswith("_launches") for name in names], launches, 0.0)
    columns, measured = latency_features(networks), latencies_us(networks)
    left = np.maximum(measured - columns @ given, 0.0)
    shared = relative_nnls(columns @ groups.T, measured, left / measured)
    result: Floats = shared @ groups + given
    return result


def also_hidden(base: Networks, seen: Networks, all_networks: Networks) -> Networks:
    """Return `base` without the networks and the whole families that `seen` lacks of `all_networks`."""
    names = {network.name for network in all_networks} - {network.name for network in seen}
    families = {network.family for network in all_networks} - {network.family for network in seen}
    return [network for network in base if network.name not in names and network.family not in families]


def scaled_fit(networks: Networks, base: Networks, ties: Ties) -> Floats:
    """Return the fit to `base` times the median ratio of `networks` to the same networks there.

    For a precision of which too few networks were measured to fit rates of their own.
    """
    base_us = {network.name: network.latency_us for network in base}
    ratios = [network.latency_us / base_us[network.name] for network in networks]
    result: Floats = fit_latency(base, ties) * float(np.median(ratios))
    return result


def energy_columns(networks: Networks, latency_us: Floats) -> Floats:
    """Return latency, GMACs and millions of moved elements, `[networks, 3]`."""
    gmacs = latency_features(networks)[:, : len(MAC_FEATURES)].sum(axis=1)
    moved = np.concatenate([elements(network.operators) for network in networks])
    return np.stack([latency_us, gmacs, moved], axis=1)


def hold_out(networks: Networks, groups: Sequence[Hashable], fit: Fit, predict: Predict) -> Floats:
    """Return predictions for each network from a fit to the networks of all other groups."""
    predictions = np.zeros(len(networks))
    for group in dict.fromkeys(groups):
        out = [index for index, other in enumerate(groups) if other == group]
        seen = [network for network, other in zip(networks, groups, strict=True) if other != group]
        predictions[out] = predict(fit(seen), [networks[index] for index in out])
    return predictions


def size_groups(networks: Networks) -> list[str]:
    """Return for each network whether it belongs to the smallest or largest quarter by MACs, or to the middle."""
    gmacs = latency_features(networks)[:, : len(MAC_FEATURES)].sum(axis=1)
    low, high = np.quantile(gmacs, [0.25, 0.75])
    return ["small" if value < low else "large" if value > high else "middle" for value in gmacs]


def evaluate(networks: Networks, families: Sequence[str], fit: Fit, predict: Predict) -> Evaluation:
    """Return the fit to all networks with its held-out predictions."""
    sizes = size_groups(networks)
    by_size = hold_out(networks, sizes, fit, predict)
    return Evaluation(
        coefficients=fit(networks),
        leave_one_out=hold_out(networks, [network.name for network in networks], fit, predict),
        leave_family_out=hold_out(networks, families, fit, predict),
        leave_size_out=by_size[[size != "middle" for size in sizes]],
    )


def held_out_error(
    measured: Floats,
    families: Sequence[str],
    leave_one_out: Floats,
    leave_family_out: Floats,
    outside_logs: Sequence[Floats],
) -> HeldOutError:
    """Return the errors of held-out predictions and the intervals made from them."""
    logs = log_ratio(measured, leave_family_out)
    widening, coverage = _widening(logs, families)
    outside = [_bounds(source, 1.0) for source in outside_logs]
    return HeldOutError(
        networks=len(measured),
        families=len(set(families)),
        median_leave_one_out=_median_error(measured, leave_one_out),
        median_leave_family_out=_median_error(measured, leave_family_out),
        spearman_leave_family_out=float(spearmanr(measured, leave_family_out).statistic),
        interval_log=_bounds(logs, widening),
        interval_widening=widening,
        interval_coverage=coverage,
        outside_log=(min(low for low, _ in outside), max(high for _, high in outside)),
    )


def outside_logs(networks: Networks, evaluation: Evaluation) -> Floats:
    """Return ln(measured / predicted) of the smallest and largest quarter, each held out."""
    sizes = size_groups(networks)
    measured = latencies_us([n for n, size in zip(networks, sizes, strict=True) if size != "middle"])
    return log_ratio(measured, evaluation.leave_size_out)


def log_ratio(measured: Floats, predicted: Floats) -> Floats:
    """Return ln(measured / predicted)."""
    result: Floats = np.log(measured / np.maximum(predicted, 1e-6))
    return result


def _median_error(measured: Floats, predicted: Floats) -> float:
    return float(np.median(np.abs(predicted / measured - 1)))


def _bounds(logs: Floats, widening: float) -> tuple[float, float]:
    # Few families may err to one side only; the other side is never narrower than the median error.
    low, high = np.quantile(logs, [0.1, 0.9])
    least = float(np.median(np.abs(logs)))
    return min(-least, float(low)) * widening, max(least, float(high)) * widening


def _widening(logs: Floats, families: Sequence[str]) -> tuple[float, float]:
    """Return the least factor with which bounds from other families hold 80 % of the networks, and what they hold."""
    family = np.array(families)
    for factor in _WIDENINGS:
        inside = np.zeros(len(logs), dtype=bool)
        for name in set(families):
            low, high = _bounds(logs[family != name], float(factor))
            inside[family == name] = (low <= logs[family == name]) & (logs[family == name] <= high)
        if inside.mean() >= _INSIDE:
            return float(factor), float(inside.mean())
    raise ValueError(f"no factor up to {_WIDENINGS[-1]:.2f} makes the intervals hold {_INSIDE:.0%} of the networks")


def coverage(networks: Networks) -> Coverage:
    """Return what the networks span."""
    gmacs = latency_features(networks)[:, : len(MAC_FEATURES)]
    total = gmacs.sum(axis=1)
    shares = (gmacs / total[:, None]).max(axis=0)
    latency_us = latencies_us(networks)
    return Coverage(
        gmacs=(float(total.min()), float(total.max())),
        latency_us=(float(latency_us.min()), float(latency_us.max())),
        max_share=tuple(zip(MAC_FEATURES, (float(share) for share in shares), strict=True)),
    )


def check(data: str, networks: Networks, coefficients: Floats) -> Check:
    """Return how a fit agrees with measurements that it did not use."""
    measured, predicted = latencies_us(networks), predict_latency(coefficients, networks)
    factor = float(np.exp(np.median(np.log(measured / predicted))))
    return Check(
        data=data,
        networks=len(networks),
        median_error=_median_error(measured, predicted),
        factor=factor,
        median_error_after_factor=_median_error(measured, predicted * factor),
        spearman=float(spearmanr(measured, predicted).statistic),
    )
