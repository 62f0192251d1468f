"""What was made and measured: artifacts, metrics, parity, and the report of all."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from edgekd.records.device import Precision, Prediction
from edgekd.records.plans import TensorSpec

Level = Literal["error", "warning", "note"]
Quantity = Literal["size_bytes", "latency_us", "energy_uj", "memory_bytes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """What a task reports, with the split and the number of samples it was measured on.

    A `share` is in [0, 1], a `number` is anything. Without a standard error, that of an accuracy is the binomial one,
    and that of any other metric is not known.
    """

    value: float
    samples: int
    split: str
    name: str = "accuracy"
    higher_is_better: bool = True
    unit: Literal["share", "number"] = "share"
    standard_error: float | None = None

    def __post_init__(self) -> None:
        is_binomial = self.name == "accuracy" and 0 <= self.value <= 1 and self.samples > 0
        if self.standard_error is None and is_binomial:
            object.__setattr__(self, "standard_error", math.sqrt(self.value * (1.0 - self.value) / self.samples))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How an artifact in its runtime agrees with the student it was exported from, on the same inputs.

    `equal_predictions` is the mean agreement in [0, 1], of which `measure` says what it means for the task;
    `top1_difference` is the artifact's metric minus the student's, of the unit `metric_unit`; `max_logit_difference`
    is the largest difference of two output values.
    """

    samples: int
    equal_predictions: float
    top1_difference: float
    max_logit_difference: float
    passed: bool
    detail: str | None = None
    measure: str = "predictions equal"
    metric: str = "accuracy"
    metric_unit: Literal["share", "number"] = "share"


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A file to deploy. `path` is relative to the run folder; `input_shape` is that of the first of its `inputs`."""

    path: str
    backend: Literal["onnx", "tvm"]
    precision: Precision
    processor: str
    target: str
    plan_id: str
    sha256: str
    size_bytes: int
    input_shape: tuple[int, ...]
    toolchain: str
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    task: str = "classification"
    inputs: tuple[TensorSpec, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something a person should know, or a check that failed."""

    level: Level
    code: str
    subject: str
    message: str
    hint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """An upper bound on one quantity, in its base unit (bytes, microseconds, microjoules).

    `precision` says which ONNX file it is for; `None` means every file.
    """

    quantity: Quantity
    limit: float
    precision: Precision | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """What one stage did: the task's metric on `validation` after it, and what the network then weighs."""

    name: str
    summary: str
    seconds: float
    accuracy: Metric | None = None
    macs: int | None = None
    parameters: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the report's table.

    `accuracy` is the task's metric (it says itself which), measured on the file at `path`, in its runtime;
    `trained_accuracy` is that of the network in torch it was exported from, on the same samples.
    `memory_bytes` is the predicted peak of the activations for one example, without weights and the runtime's own.
    """

    name: str
    path: str
    precision: Precision
    processor: str | None
    size_bytes: int
    macs: int
    parameters: int
    accuracy: Metric | None
    trained_accuracy: Metric | None
    latency_us: Prediction | None
    energy_uj: Prediction | None
    parity: Parity | None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorCost:
    """What one operator is predicted to take, in the network as it came and in the compressed one.

    `op` is its kind, as `conv`. The energy is `None` where the target has no table of it.
    """

    name: str
    op: str
    latency_us: tuple[float, float]
    energy_uj: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What the artifact that the target deploys runs on, and what its operators are predicted to take.

    `processor` and `runtime` are names for people. `launches` are the operators that compute, each of which takes
    `launch_floor_us` at the least, however narrow it is. Without a table for the target there are no `operators`.
    """

    precision: Precision
    processor: str
    runtime: str
    threads: int | None
    launches: int
    launch_floor_us: float | None
    operators: tuple[OperatorCost, ...]

    @property
    def latency_us(self) -> tuple[float, float] | None:
        """The predicted latency before and after, which is the sum over the operators."""
        sums = [math.fsum(operator.latency_us[index] for operator in self.operators) for index in (0, 1)]
        return (sums[0], sums[1]) if self.operators else None

    @property
    def floor_us(self) -> float | None:
        """What the launches alone take, at any widths."""
        return None if self.launch_floor_us is None else self.launches * self.launch_floor_us


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything a reader or a CI job needs to know about one run."""

    title: str
    verdict: Literal["pass", "fail"]
    target: str
    plan_id: str
    rows: tuple[Row, ...]
    stages: tuple[StageResult, ...]
    budgets: tuple[Budget, ...]
    findings: tuple[Finding, ...]
    widths: tuple[tuple[str, int, int], ...]
    provenance: tuple[tuple[str, str], ...]
    deployment: Deployment | None = None
    schema_version: int = field(default=3)
