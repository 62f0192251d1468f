"""How far cost models can be trusted: fits that have not seen a network, and intervals made from their errors."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from edgekd.hardware.operators import MAC_FEATURES
from edgekd.hardware.profile import Bounds, Check, Coverage, HeldOutError
from profile_fitting.candidates import Floats, Networks, latencies_us, latency_features

_INSIDE = 0.8
_AS_GOOD = 0.01


def hold_out(networks: Networks, groups: Sequence[Hashable], predict: Callable[[Networks], Floats]) -> Floats:
    """Return predictions for each network, made a group at a time by a function that may use all other groups."""
    predictions = np.zeros(len(networks))
    for group in dict.fromkeys(groups):
        out = [index for index, other in enumerate(groups) if other == group]
        predictions[out] = predict([networks[index] for index in out])
    return predictions


def smallest_and_largest(networks: Networks) -> tuple[Networks, Networks]:
    """Return the smallest and the largest quarter of the networks by MACs."""
    gmacs = latency_features(networks)[:, : len(MAC_FEATURES)].sum(axis=1)
    low, high = np.quantile(gmacs, [0.25, 0.75])
    sized = list(zip(networks, gmacs, strict=True))
    return [network for network, value in sized if value < low], [network for network, value in sized if value > high]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """Held-out predictions of one form, `[networks]`."""

    leave_one_out: Floats
    leave_family_out: Floats


def choose_form(measured: Floats, tried: Sequence[Tried]) -> int:
    """Return which form to take: the one with the least median error on unseen networks.

    Forms within a point of it are as good, with so few networks; of those the best on unseen families is taken.
    """
    by_one, by_family = (
        [median_error(measured, getattr(form, name)) for form in tried]
        for name in ("leave_one_out", "leave_family_out")
    )
    as_good = [index for index, error in enumerate(by_one) if error <= min(by_one) + _AS_GOOD]
    return min(as_good, key=lambda index: by_family[index])


def chosen_unseen(measured: Floats, tried: Sequence[Tried]) -> Floats:
    """Return for each network the held-out prediction of the form that the other networks would choose, `[networks]`.

    The difference to the chosen form's own error is what choosing the form on the same networks makes it look better.
    """
    predicted = np.zeros(len(measured))
    for index in range(len(measured)):
        others = [
            Tried(
                leave_one_out=np.delete(form.leave_one_out, index),
                leave_family_out=np.delete(form.leave_family_out, index),
            )
            for form in tried
        ]
        chosen = choose_form(np.delete(measured, index), others)
        predicted[index] = tried[chosen].leave_one_out[index]
    return predicted


def held_out_error(
    measured: Floats,
    families: Sequence[str],
    leave_one_out: Floats,
    leave_family_out: Floats,
    outside_logs: Sequence[Floats],
) -> HeldOutError:
    """Return the errors of held-out predictions and the intervals made from them."""
    logs = log_ratio(measured, leave_family_out)
    outside = [_quantiles(source) for source in outside_logs]
    return HeldOutError(
        networks=len(measured),
        families=len(set(families)),
        median_leave_one_out=median_error(measured, leave_one_out),
        median_leave_family_out=median_error(measured, leave_family_out),
        spearman_leave_one_out=_rank_correlation(measured, leave_one_out),
        spearman_leave_family_out=_rank_correlation(measured, leave_family_out),
        interval_log=interval(logs),
        interval_coverage=interval_coverage(logs, families),
        outside_log=(min(low for low, _ in outside), max(high for _, high in outside)),
    )


def log_ratio(measured: Floats, predicted: Floats) -> Floats:
    """Return ln(measured / predicted)."""
    result: Floats = np.log(measured / np.maximum(predicted, 1e-6))
    return result


def median_error(measured: Floats, predicted: Floats) -> float:
    """Return the median of |predicted / measured - 1|."""
    return float(np.median(np.abs(predicted / measured - 1)))


def _rank_correlation(measured: Floats, predicted: Floats) -> float:
    # Predictions that differ by less than the table shows are equal: CIFAR-10 and CIFAR-100 heads of one network.
    rounded = [float(f"{value:.5g}") for value in predicted]
    return float(spearmanr(measured, rounded).statistic)


def _quantiles(logs: Floats) -> Bounds:
    # Few networks may err to one side only; the other side is never narrower than the median error.
    low, high = np.quantile(logs, [0.1, 0.9])
    least = float(np.median(np.abs(logs)))
    return min(-least, float(low)), max(least, float(high))


def interval(logs: Floats) -> Bounds:
    """Return bounds meant to hold 80 % of networks of unseen families.

    Of n held-out errors the ceil(0.8 (n + 1))-th smallest in size, to both sides: with so few networks the two
    tails are not told apart, and a quantile without the correction for n holds too few.

    Source: Barber, Candès, Ramdas and Tibshirani, Predictive Inference with the Jackknife+, Annals of Statistics
    49 (1), 2021, https://arxiv.org/abs/1905.02928, the jackknife of section 1.2, here with families left out.

    Args:
        logs: ln(measured / predicted) with families held out, `[networks]`.
    """
    sizes = np.sort(np.abs(logs))
    rank = min(len(sizes), int(np.ceil(_INSIDE * (len(sizes) + 1))))
    return -float(sizes[rank - 1]), float(sizes[rank - 1])


def interval_coverage(logs: Floats, families: Sequence[str]) -> float:
    """Return the share of networks that lie in an interval made, by the same rule, from the other families only.

    A network's own error does not decide the bounds it is tested on, nor do those of its relatives. (The fits
    behind the others' errors have seen it; only its own prediction has not.)
    """
    family = np.array(families)
    is_inside = np.zeros(len(logs), dtype=bool)
    for name in set(families):
        is_out = family == name
        low, high = interval(logs[~is_out])
        is_inside[is_out] = (low <= logs[is_out]) & (logs[is_out] <= high)
    return float(is_inside.mean())


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


def check(data: str, networks: Networks, predicted: Floats) -> Check:
    """Return how a fit agrees with measurements that it did not use."""
    measured = latencies_us(networks)
    factor = float(np.exp(np.median(np.log(measured / predicted))))
    return Check(
        data=data,
        networks=len(networks),
        median_error=median_error(measured, predicted),
        factor=factor,
        median_error_after_factor=median_error(measured, predicted * factor),
        spearman=_rank_correlation(measured, predicted),
    )
