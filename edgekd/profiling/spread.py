"""How long a file takes on a device, and how far that can be trusted: the same measurement in several processes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekd.profiling.connection import Device
from edgekd.profiling.model import Settings, request_of, runtime_of

# Processes differ by where memory lies and what else runs, which one process alone does not show.
_PROCESSES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The median latency in microseconds, and the range that measuring again would be expected to fall into.

    The range is that of the medians of several processes, wider by the tolerance within which each of them settled, or,
    where one did not settle, reaching to that one's 90th percentile.
    """

    median_us: float
    low_us: float
    high_us: float
    runs: int
    is_settled: bool
    runtime: str
    warnings: tuple[str, ...]


def measure_spread(device: Device, path: Path, settings: Settings) -> Spread:
    """Measure an ONNX file in onnxruntime, in several processes one after the other.

    Raises:
        ArtifactError: The file cannot be read, or is no ONNX file.
        DeviceError: The device cannot run the file as asked.
        ConnectionLostError: The device is gone.
    """
    digest = device.send_file(path)
    found = [
        device.request("measure", timeout_s=settings.limit_s + 30.0, **request_of(digest, settings), forget=is_last)
        for is_last in [False] * (_PROCESSES - 1) + [True]
    ]
    medians = sorted(entry["p50_us"] for entry in found)
    is_settled = all(entry["stable"] for entry in found)
    high = medians[-1] if is_settled else max(entry["p90_us"] for entry in found)
    return Spread(
        median_us=medians[len(medians) // 2],
        low_us=medians[0] * (1 - settings.tolerance),
        high_us=high * (1 + settings.tolerance),
        runs=sum(entry["runs"] for entry in found),
        is_settled=is_settled,
        runtime=f"{runtime_of(device, found[0])}, {settings.provider}, threads: {settings.threads}",
        warnings=tuple(dict.fromkeys(warning for entry in found for warning in entry["warnings"])),
    )
