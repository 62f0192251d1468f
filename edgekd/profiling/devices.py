"""Measure on several devices at once."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TypeVar

from edgekd.errors import DeviceError, ExportError
from edgekd.profiling.connection import Device
from edgekd.profiling.model import Latency, Settings, measure_latency

_D = TypeVar("_D", bound=Device)
_R = TypeVar("_R")


def on_all(devices: Sequence[_D], work: Callable[[_D], _R]) -> tuple[_R, ...]:
    """Return what the work gives on each device, done on all at the same time.

    The first error is raised at once, after the work on the others was broken off.
    """
    with ThreadPoolExecutor(len(devices)) as pool:
        pending = [pool.submit(work, device) for device in devices]
        try:
            for future in as_completed(pending):
                future.result()
        except BaseException:
            for device in devices:
                device.close()
            raise
    return tuple(future.result() for future in pending)


def measure_files(
    devices: Sequence[Device], files: Sequence[Path], settings: Settings
) -> Iterator[tuple[Path, Latency | DeviceError | ExportError]]:
    """Measure many files, one at a time on each device, and yield each as soon as it is known.

    Who keeps what was yielded goes on after a broken connection with the files that are left. The error of a file
    that a device cannot run, or TVM not compile, is yielded in place of its latency.

    Raises:
        ConnectionLostError: A device is gone.
        ArtifactError: A file cannot be read.
    """
    free: queue.SimpleQueue[Device] = queue.SimpleQueue()
    for device in devices:
        free.put(device)

    def measured(path: Path) -> tuple[Path, Latency | DeviceError | ExportError]:
        device = free.get()
        try:
            return path, measure_latency(device, path, settings)
        except (DeviceError, ExportError) as error:
            return path, error
        finally:
            free.put(device)

    with ThreadPoolExecutor(len(devices)) as pool:
        pending = [pool.submit(measured, path) for path in files]
        try:
            for future in as_completed(pending):
                yield future.result()
        finally:
            for future in pending:
                future.cancel()
