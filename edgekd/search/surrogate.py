"""A predictor of measured losses from widths, and how well it predicts what it has not seen."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from edgekd.records import SurrogateQuality
from edgekd.search.pareto import Array
from edgekd.search.space import Widths, WidthSpace


class Surrogate:
    """A Gaussian process over width ratios with a Matern 5/2 kernel of one length scale, and noise.

    docs/decisions.md has the comparison with other kernels, trees and linear models on measured losses.

    Source: Rasmussen and Williams 2006, "Gaussian Processes for Machine Learning", sections 2.2, 4.2 and 5.4.

    Args:
        space: The widths.
        widths: Of measured plans, `[plans, groups]`.
        values: What was measured, `[plans]`. What is not finite counts as the largest finite value.
    """

    def __init__(self, space: WidthSpace, widths: Widths, values: Array) -> None:
        self._full = np.array([choices[-1] for choices in space.group_choices], dtype=np.float64)
        finite = values[np.isfinite(values)]
        self._process = _process()
        with warnings.catch_warnings():
            # A length scale or a noise at its bound is no error: the data then want none.
            warnings.simplefilter("ignore")
            self._process.fit(widths / self._full, np.where(np.isfinite(values), values, finite.max(initial=0.0)))

    def mean(self, widths: Widths) -> Array:
        """Return what is expected of plans `[plans, groups]`, `[plans]`."""
        expected: Array = self._process.predict(widths / self._full)
        return expected

    def mean_and_deviation(self, widths: Widths) -> tuple[Array, Array]:
        """Return what is expected and its standard deviation, both `[plans]`."""
        expected, deviation = self._process.predict(widths / self._full, return_std=True)
        return expected, deviation


def _process() -> Any:
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    kernel = ConstantKernel(1.0, (1e-3, 1e3)) * Matern(1.0, (1e-2, 1e2), nu=2.5) + WhiteKernel(1e-2, (1e-6, 1.0))
    return GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)


def prediction_quality(predicted: Array, measured: Array, *, trained_on: int) -> SurrogateQuality | None:
    """Return how predictions agree with measurements that the surrogate had not seen; `None` if none is finite."""
    from scipy.stats import kendalltau

    finite = np.isfinite(measured)
    predicted, measured = predicted[finite], measured[finite]
    if not len(measured):
        return None
    has_order = len(np.unique(predicted)) > 1 and len(np.unique(measured)) > 1
    return SurrogateQuality(
        trained_on=trained_on,
        unseen=len(measured),
        kendall_tau=float(kendalltau(predicted, measured).statistic) if has_order else None,
        mean_absolute_error=float(np.abs(predicted - measured).mean()),
    )
