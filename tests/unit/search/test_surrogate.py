from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import kendalltau

from edgekd.search.space import WidthSpace
from edgekd.search.surrogate import Surrogate, prediction_quality

SPACE = WidthSpace(names=tuple("abcdef"), choices=((8, 16, 24, 32),) * 6)
WORTH = np.array([1.0, 0.8, 0.5, 0.3, 0.2, 0.1])


def some_widths(count: int, seed: int) -> np.ndarray:
    return SPACE.widths(np.random.default_rng(seed).integers(0, 4, size=(count, 6)))


def loss(widths: np.ndarray) -> np.ndarray:
    """Falls with every width, and more when two neighbours are both narrow."""
    dropped = 1 - widths / 32
    return 0.3 + dropped**2 @ WORTH + dropped[:, 0] * dropped[:, 1]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_orders_plans_it_has_not_seen(seed: int) -> None:
    known, unseen = some_widths(60, seed), some_widths(200, seed + 10)
    surrogate = Surrogate(SPACE, known, loss(known))
    assert kendalltau(surrogate.mean(unseen), loss(unseen)).statistic > 0.9


def test_it_is_surer_of_what_it_has_seen() -> None:
    known = SPACE.widths(np.array([[3, 3, 3, 3, 3, 3], [3, 3, 3, 3, 3, 2], [3, 3, 3, 3, 2, 3]]))
    surrogate = Surrogate(SPACE, known, loss(known))
    _, near = surrogate.mean_and_deviation(known)
    _, far = surrogate.mean_and_deviation(SPACE.widths(np.zeros((1, 6), dtype=np.int64)))
    assert near.max() < far[0]


def test_losses_that_are_not_finite_count_as_the_largest_that_is() -> None:
    known = some_widths(40, 0)
    values = loss(known)
    worst = values.max()
    broken = np.where(np.arange(40) % 10 == 3, np.inf, values)
    replaced = np.where(np.isfinite(broken), broken, broken[np.isfinite(broken)].max())
    unseen = some_widths(30, 1)
    expected = Surrogate(SPACE, known, broken).mean(unseen)
    assert np.array_equal(expected, Surrogate(SPACE, known, replaced).mean(unseen))
    assert (expected < 2 * worst).all()


def test_tied_groups_share_a_gene_and_each_counts_by_its_own_share_of_its_full_width() -> None:
    tied = WidthSpace(
        names=("a", "b", "c"),
        choices=((8, 16, 24, 32), (4, 8)),
        gene_of=(0, 1, 0),
        group_choices=((8, 16, 24, 32), (4, 8), (16, 32, 48, 64)),
    )
    apart = WidthSpace(names=("a", "b", "c"), choices=tied.group_choices)
    known = tied.widths(np.random.default_rng(0).integers(0, [4, 2], size=(8, 2)))
    values = (1 - known[:, 0] / 32) ** 2 + 0.1 * (known[:, 1] < 8)
    assert np.array_equal(Surrogate(tied, known, values).mean(known), Surrogate(apart, known, values).mean(known))


@pytest.mark.parametrize("values", [np.full(3, np.inf), np.full(3, 2.0)], ids=["none finite", "all equal"])
def test_losses_that_say_nothing_are_no_error(values: np.ndarray) -> None:
    assert np.isfinite(Surrogate(SPACE, some_widths(3, 0), values).mean(some_widths(4, 1))).all()


def test_the_quality_of_predictions_by_hand() -> None:
    # Of the pairs (1, 2), (1, 3), (2, 3) the measurements turn the last around: (2 - 1) / 3. The infinite one is out.
    quality = prediction_quality(np.array([1.0, 2.0, 3.0, 9.0]), np.array([1.0, 3.5, 2.0, math.inf]), trained_on=7)
    assert quality is not None
    assert (quality.trained_on, quality.unseen) == (7, 3)
    assert quality.kendall_tau == pytest.approx(1 / 3)
    assert quality.mean_absolute_error == pytest.approx((0 + 1.5 + 1) / 3)


def test_one_prediction_has_an_error_and_no_order_and_none_has_neither() -> None:
    one = prediction_quality(np.array([1.0]), np.array([1.5]), trained_on=3)
    assert one is not None
    assert one.kendall_tau is None
    assert one.mean_absolute_error == 0.5
    assert prediction_quality(np.array([1.0]), np.array([math.inf]), trained_on=3) is None
