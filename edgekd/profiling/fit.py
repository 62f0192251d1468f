"""Fit the law of each kind of operator, and the kernel that interpolates between its rows, to measured operators."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from edgekd.hardware.interpolation import DIMENSIONS, KindModel, OperatorList, kind_model

Floats = npt.NDArray[np.float64]
# The times of the runtime's profile are whole microseconds.
_RESOLUTION_US = 1.0
_MOST_ROWS = 600
_LENGTHS = (0.3, 30.0)


def fit_kinds(operators: OperatorList, times_us: Floats) -> dict[str, KindModel]:
    """Return a model for each kind there are operators of.

    Args:
        operators: What was measured, `[rows]`.
        times_us: How long each took.
    """
    models = {}
    for kind in np.unique(operators.kind):
        chosen = operators.kind == kind
        rows, times = operators.only(chosen), times_us[chosen]
        rates = _law(rows.law, times)
        flat = kind_model(rows, times, rates_us=rates, variance=1.0, noise=1.0, lengths=(1.0,) * len(DIMENSIONS))
        variance, noise, lengths = _kernel(flat.place, flat.residuals)
        models[str(kind)] = dataclasses.replace(flat, variance=variance, noise=noise, lengths=lengths)
    return models


def with_rows(models: Mapping[str, KindModel], operators: OperatorList, times_us: Floats) -> dict[str, KindModel]:
    """Return the same laws and kernels with other rows, as for validation."""
    return {
        kind: kind_model(
            operators.only(operators.kind == kind),
            times_us[operators.kind == kind],
            rates_us=model.rates_us,
            variance=model.variance,
            noise=model.noise,
            lengths=model.lengths,
        )
        for kind, model in models.items()
        if (operators.kind == kind).any()
    }


def _law(law: Floats, times_us: Floats) -> tuple[float, ...]:
    """Return rates by least squares of relative errors."""
    weight = 1.0 / np.maximum(times_us, _RESOLUTION_US)
    rates, _ = nnls(law * weight[:, None], times_us * weight)
    return tuple(float(rate) for rate in rates)


def _kernel(place: Floats, residuals: Floats) -> tuple[float, float, tuple[float, ...]]:
    """Return variance, noise and lengths of highest marginal likelihood."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    chosen = np.random.default_rng(0).permutation(len(place))[:_MOST_ROWS]
    lengths = np.full(len(DIMENSIONS), 2.0)
    kernel = ConstantKernel(0.1, (1e-3, 10.0)) * Matern(lengths, _LENGTHS, nu=1.5) + WhiteKernel(0.01, (1e-4, 1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length at its bound means: does not matter
        found = GaussianProcessRegressor(kernel).fit(place[chosen], residuals[chosen]).kernel_
    return (
        float(found.k1.k1.constant_value),
        float(found.k2.noise_level),
        tuple(float(length) for length in np.atleast_1d(found.k1.k2.length_scale)),
    )
