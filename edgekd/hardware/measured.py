"""Tables of operators that `edgekd profile ops` measured on a device, and what they say of whole networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from edgekd.hardware.interpolation import Floats, KindModel, OperatorList, operator_times_us, uncovered
from edgekd.hardware.operators import Operators
from edgekd.hardware.profile import Bounds, Coverage
from edgekd.records import Precision

# An operator of a kind that was not measured at all may take twice or half of what the others of its network suggest.
_UNKNOWN_KIND = 0.7
# Of a normal distribution, 80 % lie within so many standard deviations.
_EIGHTY_PERCENT = 1.2816


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredNetwork:
    """A whole network that the table had not seen: what was measured and what the table says."""

    name: str
    measured_us: float
    predicted_us: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TableCheck:
    """How far a table is from whole networks it had not seen.

    Attributes:
        networks: Those that were measured for this purpose alone.
        median_error: Of them, as a share of what was measured.
        within_15_percent: The share of them whose error is at most 15 %.
        spearman: Rank correlation of measured and predicted.
        cross_validation_median: The median error of the networks that the rows come from, each without its own rows.
        interval_log: Bounds of ln(measured / predicted) that hold 80 % of all these networks, with 0 between them.
        interval_coverage: The share of `networks` inside bounds that were made from the others only.
    """

    networks: tuple[MeasuredNetwork, ...]
    median_error: float
    within_15_percent: float
    spearman: float
    cross_validation_median: float
    interval_log: Bounds
    interval_coverage: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Distinct operators and their times in microseconds inside a network, `[rows]`; `count` is how often each ran."""

    operators: Operators
    count: tuple[int, ...]
    p50_us: Floats
    p90_us: Floats
    p99_us: Floats

    def __len__(self) -> int:
        return len(self.count)


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredTable:
    """What a runtime takes for operators in one precision on one processor of a device.

    Attributes:
        target: Its name.
        processor: Its kind, as in the target file.
        precision: Of the networks.
        runtime: As in the file's name, `onnxruntime`.
        runtime_version: The same with its version.
        threads: Of the runtime.
        measured_on: The device in words.
        measured_at: Day and time in UTC.
        device: What identifies hardware and software, by name.
        settings: How it was measured, by name.
        networks: How many the rows come from.
        overhead_us: What measuring added to each operator, which was taken off.
        rows: The operators.
        kinds: The models that interpolate between rows, by kind.
        coverage: Sizes of the networks that the rows come from.
        check: The error.
        warnings: What makes the measurement doubtful.
    """

    target: str
    processor: str
    precision: Precision
    runtime: str
    runtime_version: str
    threads: int
    measured_on: str
    measured_at: str
    device: Mapping[str, str]
    settings: Mapping[str, str]
    networks: int
    overhead_us: float
    rows: Rows
    kinds: Mapping[str, KindModel]
    coverage: Coverage
    check: TableCheck
    warnings: tuple[str, ...] = ()
    energy: None = field(default=None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kinds", MappingProxyType(dict(self.kinds)))

    @property
    def file_stem(self) -> str:
        """The name of its files in the folder of its target, without suffix."""
        return "-".join((self.processor, self.precision, self.runtime, f"{self.threads}t"))

    def latency_by_operator_us(self, operators: Operators) -> Floats:
        """Return the time of each operator of each plan, `[plans, layers]`; 0 for kinds that were not measured."""
        return operator_times_us(self.kinds, operators)

    def doubt(self, operators: Operators, index: int) -> tuple[int, float]:
        """Return how many operators of a plan have no row near them, and what that adds to the logarithmic interval.

        Such an operator errs as the rows err around the law, and all of them are taken to err to the same side.
        """
        one = operators.plan(index)
        is_uncovered = uncovered(self.kinds, one)[0]
        if not is_uncovered.any():
            return 0, 0.0
        times = self.latency_by_operator_us(one)[0]
        deviations = np.array([self._deviation(str(kind)) for kind in OperatorList.of(one).kind])
        # A kind without any row has no time either: it counts as an average operator.
        shares = np.where(times > 0, times, times.mean()) / max(float(times.sum()), 1e-9)
        added = float((shares * deviations)[is_uncovered].sum()) * _EIGHTY_PERCENT
        return int(is_uncovered.sum()), added

    def describe(self) -> str:
        """Return where its numbers come from, in a line."""
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        check = self.check
        return (
            f"operators measured with {self.runtime_version} on {self.measured_on}, {threads}; median error "
            f"{check.median_error:.1%} on {len(check.networks)} networks it had not seen"
        )

    def _deviation(self, kind: str) -> float:
        model = self.kinds.get(kind)
        return _UNKNOWN_KIND if model is None else float(np.sqrt(model.variance))
