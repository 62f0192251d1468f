"""What is known of devices, and what networks cost on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Precision = Literal["fp32", "fp16", "int8"]
# Bytes of one value.
VALUE_BYTES: Mapping[Precision, int] = MappingProxyType({"fp32": 4, "fp16": 2, "int8": 1})
Origin = Literal["measured", "published", "fitted"]


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
    """What one network costs on one processor. Unknown quantities are `None`.

    `memory_bytes` is the peak of the activations for one example, counted in the order the network runs.
    """

    macs: int
    parameters: int
    latency_us: Prediction | None
    energy_uj: Prediction | None
    memory_bytes: int | None = None
