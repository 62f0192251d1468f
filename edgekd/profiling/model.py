"""Measure the file that ships on the device it ships to, and set what was predicted beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekd.errors import EdgeKDError, InputError
from edgekd.profiling.connection import Device
from edgekd.records import Prediction
from edgekd.report.document import read_report
from edgekd.store import file_digest

PROVIDERS_OF = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
}
PROVIDERS = tuple(PROVIDERS_OF)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to measure.

    Attributes:
        threads: Of the runtime inside an operator.
        pin: Cores the process may use; `None` leaves it to the system.
        provider: One of `PROVIDERS`.
        warmup_s: Runs before anything is counted.
        tolerance: The median has settled when those of five groups of ten runs differ by at most this share of it.
        min_runs: Counted at least.
        max_runs: Counted at most.
        max_s: Time for counted runs.
        sensor: Name of an energy sensor, or `command:...`; `None` measures none.
        energy_s: How long the model runs for its energy.
        idle_s: How long idle power is measured before that; 0 does not measure it.
    """

    threads: int = 1
    pin: tuple[int, ...] | None = None
    provider: str = "cpu"
    warmup_s: float = 1.0
    tolerance: float = 0.02
    min_runs: int = 50
    max_runs: int = 10_000
    max_s: float = 20.0
    sensor: str | None = None
    energy_s: float = 10.0
    idle_s: float = 0.0

    def __post_init__(self) -> None:
        checks = (
            ("--threads", self.threads, self.threads >= 1, "at least 1"),
            ("--tolerance", self.tolerance, 0 < self.tolerance < 1, "between 0 and 1"),
            ("--seconds", self.max_s, self.max_s > 0, "more than 0"),
            ("--energy-seconds", self.energy_s, self.energy_s > 0, "more than 0"),
            ("--idle-seconds", self.idle_s, self.idle_s >= 0, "at least 0"),
        )
        for where, value, holds, expected in checks:
            if not holds:
                raise InputError(where, expected=expected, found=str(value), hint="Correct the option.")

    @property
    def limit_s(self) -> float:
        """After how long a measurement is given up: models load slowly on small boards."""
        return 120.0 + self.warmup_s + 3 * self.max_s + self.energy_s + self.idle_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """The distribution of single runs in microseconds; `stable` says whether the median settled."""

    p50_us: float
    p90_us: float
    p99_us: float
    mean_us: float
    min_us: float
    max_us: float
    runs: int
    stable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """Energy of one inference in microjoules, mean power in watts, and what the sensor's number includes.

    Idle power is part of it; `idle_w` is what the device took without the model, where that was asked for.
    """

    per_inference_uj: float
    mean_w: float
    idle_w: float | None
    sensor: str
    includes: str
    samples: int
    samples_per_second: float
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorTime:
    """One operator as the runtime ran it, after its own fusions: median time in microseconds."""

    name: str
    operator: str
    p50_us: float
    p90_us: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What a file took on a device, and what its run predicted for its target.

    `runtime` is what ran it, with its version. `peak_bytes` is what the process grew by. Memory or energy that was not
    measured is `None`.
    """

    path: str
    sha256: str
    place: str
    device: Mapping[str, Any]
    runtime: str
    settings: Settings
    latency: Latency
    peak_bytes: int | None
    energy: Energy | None
    operators: tuple[OperatorTime, ...]
    warnings: tuple[str, ...]
    predicted_for: str = ""
    predicted_latency_us: Prediction | None = None
    predicted_energy_uj: Prediction | None = None
    temperature_c: tuple[float | None, float | None] = field(default=(None, None))


def measure_model(device: Device, path: Path, settings: Settings) -> Measurement:
    """Measure an ONNX file, or on a board of a farm also a library of TVM.

    Raises:
        ArtifactError: The file cannot be read, or is none that the device runs.
        DeviceError: The device has no such runtime, sensor or core, or cannot run the file.
        ConnectionLostError: The device is gone.
    """
    digest = device.send_file(path)
    asked = request_of(digest, settings)
    timeout_s = settings.limit_s + 30.0
    energy = {"sensor": settings.sensor, "energy_s": settings.energy_s, "idle_s": settings.idle_s}
    found = device.request("measure", timeout_s=timeout_s, **asked, **energy)
    # Apart from the latency, because onnxruntime's profiler takes time of its own.
    broken_down = device.request(
        "measure", timeout_s=timeout_s, **asked | {"max_runs": 100}, operators=True, forget=True
    )
    sha256 = file_digest(path)
    # What was predicted is the time in onnxruntime.
    is_predicted = "runtime" not in found
    target, latency, energy_uj = _predictions(path, sha256) if is_predicted else ("", None, None)
    return Measurement(
        path=str(path),
        sha256=sha256,
        place=device.name,
        device=device.fingerprint,
        runtime=runtime_of(device, found),
        settings=settings,
        latency=_latency(found),
        peak_bytes=found["peak_bytes"],
        energy=_energy(found.get("energy")),
        operators=tuple(
            OperatorTime(**{name: entry[name] for name in OperatorTime.__slots__}) for entry in broken_down["operators"]
        ),
        warnings=(*found["warnings"], *_doubts(found)),
        predicted_for=target,
        predicted_latency_us=latency,
        predicted_energy_uj=energy_uj,
        temperature_c=(found["before"]["temperature_c"], found["after"]["temperature_c"]),
    )


def runtime_of(device: Device, found: Mapping[str, Any]) -> str:
    """Return what ran a measurement that a device has answered with, with its version."""
    return str(found.get("runtime") or f"onnxruntime {device.fingerprint['onnxruntime']}")


def measure_latency(device: Device, path: Path, settings: Settings) -> Latency:
    """Measure how long a file takes, and nothing else; afterwards the device has forgotten it.

    Raises:
        ArtifactError, DeviceError, ConnectionLostError: As `measure_model`.
    """
    asked = request_of(device.send_file(path), settings)
    return _latency(device.request("measure", timeout_s=settings.limit_s + 30.0, **asked, forget=True))


def request_of(digest: str, settings: Settings) -> dict[str, Any]:
    """Return the fields of a request to measure the latency of a model that has been sent."""
    return {
        "digest": digest,
        "threads": settings.threads,
        "pin": None if settings.pin is None else list(settings.pin),
        "providers": list(PROVIDERS_OF[settings.provider]),
        "warmup_s": settings.warmup_s,
        "min_runs": settings.min_runs,
        "max_runs": settings.max_runs,
        "max_s": settings.max_s,
        "tolerance": settings.tolerance,
        "limit_s": settings.limit_s,
    }


def _latency(found: Mapping[str, Any]) -> Latency:
    return Latency(**{name: found[name] for name in Latency.__slots__})


def _energy(found: Mapping[str, Any] | None) -> Energy | None:
    if found is None:
        return None
    return Energy(
        per_inference_uj=1e6 * found["joules_per_inference"],
        mean_w=found["mean_w"],
        idle_w=found["idle_w"],
        sensor=found["sensor"],
        includes=found["includes"],
        samples=found["samples"],
        samples_per_second=found["samples_per_second"],
        runs=found["runs"],
    )


def _doubts(found: Mapping[str, Any]) -> tuple[str, ...]:
    if found["stable"]:
        return ()
    return ("the median did not settle within the time and runs allowed: other work, or clocks that change",)


def _predictions(path: Path, digest: str) -> tuple[str, Prediction | None, Prediction | None]:
    """Return what the run predicts of this very file: for which target, its latency and its energy."""
    try:
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        report = read_report(path.parent.parent)
    except (OSError, ValueError, EdgeKDError):
        return "", None, None
    if not isinstance(card, dict) or card.get("sha256") != digest:
        return "", None, None
    rows = [row for row in report.rows if row.path == card.get("path")]
    return (report.target, rows[0].latency_us, rows[0].energy_uj) if rows else ("", None, None)
