"""Predict what networks cost on a device, many at a time.

A table that the user measured on the board itself (`edgekd profile ops`) comes first. Without one the numbers are
rougher: models of few rates fitted to whole networks that others measured, mostly in another runtime than the one an
artifact ships for. They rank networks and say how sure they are; they do not replace a measurement on the board. Where
nothing was published there is no model, and the cost is unknown.
"""

from __future__ import annotations

import math

from edgekd.hardware import forms
from edgekd.hardware.lookup import LatencyModel, load_cost_model
from edgekd.hardware.measured import MeasuredTable
from edgekd.hardware.operators import MAC_FEATURES, Floats, Operators, elements, features
from edgekd.hardware.profile import (
    Bounds,
    CostModel,
    Coverage,
    EnergyModel,
    HeldOutError,
    read_profile,
)
from edgekd.records import Cost, Prediction

# Networks of 3x3 convolutions differ by that much in the share of their first layer and head.
_SHARE_SLACK = 0.05
# Uncovered operators that widen the logarithmic interval by more make a prediction an extrapolation.
_MUCH_ADDED = 0.05

__all__ = [
    "CostModel",
    "EnergyModel",
    "LatencyModel",
    "Operators",
    "energy_by_operator_uj",
    "latency_by_operator_us",
    "load_cost_model",
    "predict_cost",
    "predict_energy_uj",
    "predict_latency_us",
    "read_profile",
]


def predict_latency_us(model: LatencyModel, operators: Operators) -> Floats:
    """Return the predicted latency of each plan in microseconds, `[plans]`, for batch size 1."""
    latency: Floats = latency_by_operator_us(model, operators).sum(axis=1)
    return latency


def latency_by_operator_us(model: LatencyModel, operators: Operators) -> Floats:
    """Return the predicted latency of each operator of each plan in microseconds, `[plans, layers]`.

    The split is the model's: its error is known of whole networks, not of operators.
    """
    if isinstance(model, MeasuredTable):
        return model.latency_by_operator_us(operators)
    return forms.latency_by_operator_us(model.form, model.coefficients_us, operators)


def predict_energy_uj(model: LatencyModel, operators: Operators) -> Floats:
    """Return the predicted energy of one inference of each plan in microjoules, `[plans]`.

    Raises:
        ValueError: The model has no energy (`model.energy is None`): nobody published it.
    """
    energy: Floats = energy_by_operator_uj(model, operators).sum(axis=1)
    return energy


def energy_by_operator_uj(model: LatencyModel, operators: Operators) -> Floats:
    """Return the predicted energy of each operator of each plan in microjoules, `[plans, layers]`.

    Raises:
        ValueError: The model has no energy (`model.energy is None`): nobody published it.
    """
    if model.energy is None:
        raise ValueError(f"energy of {model.target} {model.processor} {model.precision} is not known")
    energy: Floats = (
        model.energy.power_w * latency_by_operator_us(model, operators)
        + model.energy.uj_per_gmac * (operators.macs / 1e9)
        + model.energy.uj_per_melement * elements(operators)
    )
    return energy


def predict_cost(model: LatencyModel | None, operators: Operators, index: int = 0) -> Cost:
    """Return the cost of one plan with 80 % intervals; without a model only what can be counted is known.

    Args:
        model: From `load_cost_model`.
        operators: The population.
        index: Which plan of it.
    """
    macs = int(operators.macs[index].sum())
    parameters = int(operators.weight_elements[index].sum())
    if model is None:
        return Cost(macs=macs, parameters=parameters, latency_us=None, energy_uj=None)
    if isinstance(model, MeasuredTable):
        latency = _from_table(model, operators, index)
        return Cost(macs=macs, parameters=parameters, latency_us=latency, energy_uj=None)
    latency_us = float(predict_latency_us(model, operators)[index])
    gmacs = features(operators)[index, : len(MAC_FEATURES)]
    latency = _prediction(
        latency_us,
        error=model.error,
        beyond=_distance_beyond(model.coverage, gmacs, latency_us),
        source=_describe(model),
    )
    energy = None
    if model.energy is not None:
        beyond = _distance_beyond(model.energy.coverage, gmacs, latency_us)
        if beyond is None and model.energy.measured_precision != model.precision:
            beyond = 0.0
        energy = _prediction(
            float(predict_energy_uj(model, operators)[index]),
            error=model.energy.error,
            beyond=beyond,
            source=f"{_describe(model)}; {model.energy.includes}",
        )
    return Cost(macs=macs, parameters=parameters, latency_us=latency, energy_uj=energy)


def _from_table(table: MeasuredTable, operators: Operators, index: int) -> Prediction:
    value = float(table.latency_by_operator_us(operators.plan(index)).sum())
    uncovered, added = table.doubt(operators, index)
    low, high = table.check.interval_log
    beside = f"; {uncovered} of {len(operators.names)} operators are not covered by it" if uncovered else ""
    return Prediction(
        value=value,
        low=value * math.exp(low - added),
        high=value * math.exp(high + added),
        origin="measured",
        source=table.describe() + beside,
        extrapolated=added > _MUCH_ADDED,
    )


def _distance_beyond(coverage: Coverage, gmacs: Floats, latency_us: float) -> float | None:
    """Return how far beyond the measured MACs and latency a network lies, or `None` if it is covered.

    The distance adds up natural logarithms of the ratios to the nearest measured value. It is 0 for a network of
    measured size that has a larger share of its MACs in some kind of layer than any measured one.
    """
    total = max(float(gmacs.sum()), 1e-9)
    distance = _log_outside(total, coverage.gmacs) + _log_outside(latency_us, coverage.latency_us)
    shares = zip(gmacs, coverage.max_share, strict=True)
    is_unlike = any(float(part) / total > share + _SHARE_SLACK for part, (_, share) in shares)
    return distance if distance > 0 or is_unlike else None


def _log_outside(value: float, bounds: Bounds) -> float:
    low, high = bounds
    value = max(value, low * 1e-6)
    return max(0.0, math.log(low / value), math.log(value / high))


def _prediction(value: float, *, error: HeldOutError, beyond: float | None, source: str) -> Prediction:
    """Return a value with its interval.

    Inside the covered range (`beyond` is `None`) the interval is the held-out one. Outside, its logarithmic
    half-widths are the wider of that and `outside_log`, grown by the factor 1 + distance, because the error of a
    rate grows with how far it is carried. The factor is a convention; `outside_log` is measured.
    """
    low, high = error.interval_log
    if beyond is not None:
        low = min(low, error.outside_log[0]) * (1 + beyond)
        high = max(high, error.outside_log[1]) * (1 + beyond)
    return Prediction(
        value=value,
        low=value * math.exp(low),
        high=value * math.exp(high),
        origin="fitted",
        source=source,
        extrapolated=beyond is not None,
    )


def _describe(model: CostModel) -> str:
    threads = "threads not stated" if model.threads is None else f"{model.threads} threads"
    if model.threads == 1:
        threads = "1 thread"
    where = model.measured_on if model.processor == "gpu" else f"{model.measured_on}, {threads}"
    return f"fitted to {model.error.networks} networks measured with {model.runtime_version} on {where}"
