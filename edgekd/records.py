"""The nouns of EdgeKD: frozen values that one stage hands to the next.

Standard library only, so that commands that never load torch can use them. Quantities end in their unit;
what is not known is `None`, never zero.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Literal

Precision = Literal["fp32", "fp16", "int8"]
Origin = Literal["measured", "published", "fitted"]
Level = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """Equal cores of a processor, for instance one cluster of a big.LITTLE design.

    `count` is `None` where a description covers processors of any size. `isa` are the instruction sets that matter to
    networks, by the names of /proc/cpuinfo, as `asimddp` or `avx512_vnni`.
    """

    name: str
    count: int | None = None
    isa: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where facts of a target come from. A fact is a key of its file, as `memory_bytes` or `processors.cpu.fast`.

    `note` says what the source does not: how a fact follows from it, or that it was not at hand.
    """

    facts: tuple[str, ...]
    cite: str
    url: str
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """One compute unit of a device, as its target file describes it.

    `fast` are the precisions it gains from, `runs` those it merely executes. `channel_multiple` is the step in
    which widths are chosen. Of `runtimes` and `thread_counts` the first is the one that is deployed.
    `compute_capability` is CUDA's, as "6.2". `launch_floor_us` is what an operator takes at the least, however narrow
    it is. `tvm_target` is the dictionary TVM compiles for, as sorted key-value pairs, or empty.
    """

    kind: Literal["cpu", "gpu"]
    title: str
    cores: tuple[Cores, ...]
    runtimes: tuple[str, ...]
    fast: tuple[Precision, ...]
    runs: tuple[Precision, ...]
    channel_multiple: int
    thread_counts: tuple[int, ...] = ()
    compute_capability: str | None = None
    launch_floor_us: float | None = None
    tvm_target: tuple[tuple[str, str | int | tuple[str, ...]], ...] = ()
    cross_compiler: str | None = None

    @property
    def runtime(self) -> str:
        """The runtime that is deployed."""
        return self.runtimes[0]

    @property
    def threads(self) -> int | None:
        """The number of threads that is deployed, if the processor has threads."""
        return self.thread_counts[0] if self.thread_counts else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A device to compress for.

    `artifacts` are the precisions to ship, each with the processor that runs it. The first is the one to deploy: its
    latency and energy are what the search minimizes.
    """

    name: str
    title: str
    processors: tuple[Processor, ...]
    artifacts: tuple[tuple[Precision, str], ...]
    memory_bytes: int | None
    notes: tuple[str, ...]
    sources: tuple[Source, ...]

    def processor(self, kind: str) -> Processor:
        """Return the processor of that kind; `KeyError` if the device has none."""
        for processor in self.processors:
            if processor.kind == kind:
                return processor
        raise KeyError(kind)

    @property
    def channel_multiple(self) -> int:
        """The step of widths that suits every processor an artifact is shipped for."""
        return max(self.processor(kind).channel_multiple for _, kind in self.artifacts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A predicted quantity with its 80 % interval and where it comes from.

    `extrapolated` is true when the network lies outside the range the model was fitted on; the interval is then
    widened and the number is a ranking aid, not a promise.
    """

    value: float
    low: float
    high: float
    origin: Origin
    source: str
    extrapolated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one network costs on one processor. Unknown quantities are `None`."""

    macs: int
    parameters: int
    latency_us: Prediction | None
    energy_uj: Prediction | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelGroup:
    """Interchangeable units of channels: each unit lives or dies as a whole, any of them may be dropped.

    A unit is a set of channels of one or more layers (`members`, as `layer.dimension` names) that are tied by the
    network's arithmetic. `order` ranks the units, most important first: width `w` keeps `order[:w]`. A group that
    is not `prunable` says why in `reason`.
    """

    name: str
    units: int
    members: tuple[str, ...]
    prunable: bool
    reason: str | None = None
    order: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How many units each channel group keeps. Two plans with equal widths are the same plan, with the same id."""

    widths: tuple[tuple[str, int], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(sorted(self.widths)))
        names = [name for name, _ in self.widths]
        if len(set(names)) != len(names):
            raise ValueError("a plan names each group once")
        if any(width < 1 for _, width in self.widths):
            raise ValueError("every width is at least 1")

    @property
    def id(self) -> str:
        """The first 12 hexadecimal digits of the SHA-256 of the plan's canonical JSON."""
        text = json.dumps({"widths": dict(self.widths)}, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def document(self) -> dict[str, object]:
        """Return the content of `plan.json`."""
        return {"id": self.id, "widths": dict(self.widths)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An evaluated plan. Objectives are minimized; a `violation` of at most 0 means every budget is met."""

    plan: Plan
    objectives: tuple[float, ...]
    violation: float
    size_bytes: int
    macs: int
    parameters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """An input or output of a network: its shape without the batch, and torch's name of its type, as `float32`."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A generation of the search, from 0: the candidates new in it, and all evaluations and the hypervolume so far."""

    number: int
    candidates: tuple[Candidate, ...]
    evaluations: int
    hypervolume: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ParetoFront:
    """What a search found. `history` is (evaluations so far, hypervolume) once a generation."""

    objective_names: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    reference_point: tuple[float, ...]
    hypervolume: float
    evaluations: int
    seed: int
    history: tuple[tuple[int, float], ...]


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

    quantity: Literal["size_bytes", "latency_us", "energy_uj"]
    limit: float
    precision: Precision | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the report's table.

    `accuracy` is the task's metric (it says itself which), measured on the file at `path`, in its runtime;
    `trained_accuracy` is that of the network in torch it was exported from, on the same samples.
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
    schema_version: int = field(default=2)
