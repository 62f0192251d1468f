"""The time of any operator from a table of measured ones: a simple law for each kind, corrected between the rows.

The law is a sum of a constant, arithmetic, values moved and weights read, each with a rate that is not negative. What
the rows say beyond it, the logarithm of measured over law, is interpolated by a Gaussian process over the logarithms of
the sizes and over how well channel counts divide, because kernels run along blocks of channels.

Source: Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, MIT Press, algorithm 2.1 and equation 4.17
(Matern kernel of order 3/2 with one length a dimension).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.hardware.operators import Operators

Floats = npt.NDArray[np.float64]

LAW = ("launch", "mmacs", "moved_melements", "weight_melements")
DIMENSIONS = (
    *("in_channels", "out_channels", "out_pixels", "kernel_area", "stride", "groups", "inputs"),
    *("in_alignment", "out_alignment"),
)
# Images have 3 channels or 1, and runtimes have kernels of their own for so few.
_STEM_CHANNELS = 3
_LARGEST_BLOCK = 16
# No operator takes less; it keeps logarithms of operators that a runtime fuses away finite.
LEAST_US = 0.05
# A row tells little of an operator whose variance, given all rows, is more than this share of what it is without any.
_COVERED = 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OperatorList:
    """Operators in a row, with everything a cost depends on: one value each, `[operators]`."""

    kind: npt.NDArray[np.str_]
    law: Floats
    place: Floats

    @classmethod
    def of(cls, operators: Operators) -> OperatorList:
        """Return the operators of all plans, those of the first plan first, `[plans * layers]`."""
        shape = operators.in_channels.shape

        def flat(values: npt.NDArray[Any]) -> Floats:
            return np.ascontiguousarray(np.broadcast_to(values, shape)).reshape(-1).astype(np.float64)

        op = np.ascontiguousarray(np.broadcast_to(np.asarray(operators.op), shape)).reshape(-1)
        read, made, pixels = map(flat, (operators.in_channels, operators.out_channels, operators.out_pixels))
        kernel, stride, inputs = map(flat, (operators.kernel_area, operators.stride, operators.inputs))
        groups = np.where(op == "depthwise", 1.0, flat(operators.groups))
        moved = read * inputs * flat(operators.in_pixels) + made * pixels
        law = (np.ones_like(read), flat(operators.macs) / 1e6, moved / 1e6, flat(operators.weight_elements) / 1e6)
        logs = [np.log(np.maximum(size, 1.0)) for size in (read, made, pixels, kernel, stride, groups, inputs)]
        aligned = [np.log2(np.gcd(size.astype(np.int64), _LARGEST_BLOCK)) / 2 for size in (read, made)]
        variant = np.ascontiguousarray(np.broadcast_to(np.asarray(operators.variant), shape)).reshape(-1)
        return cls(
            kind=_kinds(op, variant, read, kernel, groups),
            law=np.stack(law, axis=1),
            place=np.stack([*logs, *aligned], axis=1),
        )

    def only(self, chosen: npt.NDArray[np.bool_]) -> OperatorList:
        """Return some of the operators."""
        return OperatorList(kind=self.kind[chosen], law=self.law[chosen], place=self.place[chosen])


def _kinds(
    op: npt.NDArray[np.str_], variant: npt.NDArray[np.str_], read: Floats, kernel: Floats, groups: Floats
) -> npt.NDArray[np.str_]:
    is_conv = op == "conv"
    is_stem = is_conv & (read <= _STEM_CHANNELS)
    is_pointwise = is_conv & ~is_stem & (kernel == 1) & (groups == 1)
    kinds = np.where(is_conv, "spatial", op)
    kinds = np.where(is_stem, "stem", np.where(is_pointwise, "pointwise", kinds))
    return np.where(variant == "", kinds, np.char.add(np.char.add(kinds, "-"), variant)).astype(np.str_)


@dataclass(frozen=True, kw_only=True, eq=False)
class KindModel:
    """How the operators of one kind cost.

    Attributes:
        rates_us: Microseconds for each unit of `LAW`.
        mean: Of the logarithms of measured over law.
        variance: Of the Gaussian process, without rows.
        noise: Variance of a row.
        lengths: Of the kernel, one for each of `DIMENSIONS`.
        place: Of the rows, `[rows, dimensions]`.
        residuals: Logarithms of measured over law, less the mean, `[rows]`.
    """

    rates_us: tuple[float, ...]
    mean: float
    variance: float
    noise: float
    lengths: tuple[float, ...]
    place: Floats
    residuals: Floats

    def times_us(self, law: Floats, place: Floats) -> Floats:
        """Return the time of each operator, `[operators]`."""
        correction = self._similarity(place) @ self._weights
        times: Floats = law_us(self.rates_us, law) * np.exp(self.mean + correction)
        return times

    def is_covered(self, place: Floats) -> npt.NDArray[np.bool_]:
        """Return which operators are near enough to rows, `[operators]`."""
        similarity = self._similarity(place)
        explained = np.einsum("or,ro->o", similarity, np.linalg.solve(self._covariance, similarity.T))
        return np.asarray(1.0 - explained / self.variance <= _COVERED)

    @cached_property
    def _covariance(self) -> Floats:
        covariance: Floats = self._similarity(self.place) + self.noise * np.eye(len(self.place))
        return covariance

    @cached_property
    def _weights(self) -> Floats:
        return np.asarray(np.linalg.solve(self._covariance, self.residuals), dtype=np.float64)

    def _similarity(self, place: Floats) -> Floats:
        scaled, rows = place / np.array(self.lengths), self.place / np.array(self.lengths)
        squares = (scaled**2).sum(1)[:, None] + (rows**2).sum(1)[None] - 2 * scaled @ rows.T
        distance = np.sqrt(3 * np.maximum(squares, 0.0))
        similarity: Floats = self.variance * (1 + distance) * np.exp(-distance)
        return similarity


def kind_model(
    rows: OperatorList,
    times_us: Floats,
    *,
    rates_us: tuple[float, ...],
    variance: float,
    noise: float,
    lengths: tuple[float, ...],
) -> KindModel:
    """Return the model of rows of one kind; of rows in one place the median counts."""
    logs = np.log(np.maximum(times_us, LEAST_US) / law_us(rates_us, rows.law))
    places, where = np.unique(rows.place, axis=0, return_inverse=True)
    where = where.reshape(-1)
    residuals = np.array([np.median(logs[where == index]) for index in range(len(places))])
    mean = float(residuals.mean())
    return KindModel(
        rates_us=rates_us,
        mean=mean,
        variance=variance,
        noise=noise,
        lengths=lengths,
        place=places,
        residuals=residuals - mean,
    )


def law_us(rates_us: tuple[float, ...], law: Floats) -> Floats:
    """Return what the law alone says, `[operators]`."""
    times: Floats = np.maximum(law @ np.asarray(rates_us), LEAST_US)
    return times


def operator_times_us(models: Mapping[str, KindModel], operators: Operators) -> Floats:
    """Return the time of each operator of each plan in microseconds, `[plans, layers]`; of unknown kinds 0."""
    found = OperatorList.of(operators)
    times = np.zeros(len(found.kind))
    for kind, model in models.items():
        chosen = found.kind == kind
        if chosen.any():
            # Most plans share most operators.
            place, where = np.unique(np.hstack([found.place, found.law])[chosen], axis=0, return_inverse=True)
            split = len(DIMENSIONS)
            times[chosen] = model.times_us(place[:, split:], place[:, :split])[where.reshape(-1)]
    return times.reshape(operators.in_channels.shape)


def uncovered(models: Mapping[str, KindModel], operators: Operators) -> npt.NDArray[np.bool_]:
    """Return which operators of each plan no row is near to, `[plans, layers]`."""
    found = OperatorList.of(operators)
    result = ~np.isin(found.kind, list(models))
    for kind, model in models.items():
        chosen = found.kind == kind
        result[chosen] = ~model.is_covered(found.place[chosen])
    return result.reshape(operators.in_channels.shape)
