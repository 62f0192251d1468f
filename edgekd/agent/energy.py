"""Energy of a piece of work, from whatever sensor the device has.

A sensor reads either power in watts, which a thread samples while the work runs, or an energy counter in joules,
which is read before and after. What a number includes (the whole module, the processor's core rail, ...) goes with it.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any


class SensorError(Exception):
    """A sensor that is there gives no number, or has stopped giving any."""


class Sensor:
    """One source of power (`read` returns watts) or energy (`read` returns joules, and `is_counter` is set).

    Attributes:
        name: How it is asked for.
        includes: What flows through it.
        interval_s: How often it is worth reading.
        wraps_at: Where a counter starts again from zero.
    """

    def __init__(
        self,
        name: str,
        includes: str,
        read: Callable[[], float],
        *,
        is_counter: bool = False,
        interval_s: float = 0.02,
        wraps_at: float | None = None,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.includes = includes
        self.read = read
        self.is_counter = is_counter
        self.interval_s = interval_s
        self.wraps_at = wraps_at
        self.close = close


class Meter:
    """Measures what a sensor says while a block runs: `with Meter(sensor) as meter: ...; meter.result()`."""

    def __init__(self, sensor: Sensor) -> None:
        self.sensor = sensor
        self._samples: list[tuple[float, float]] = []
        self._failure: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Meter:
        self._began = time.perf_counter()
        self._take()
        if not self.sensor.is_counter:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._take()
        self.seconds = time.perf_counter() - self._began

    def result(self) -> dict[str, Any]:
        """Return joules, mean watts, the number of samples and how often they were taken.

        Raises:
            SensorError: The sensor stopped, or gave less than two samples.
        """
        if self._failure is not None:
            raise SensorError(f"{self.sensor.name} stopped after {len(self._samples)} samples: {self._failure}")
        if len(self._samples) < 2:
            raise SensorError(f"{self.sensor.name} gave {len(self._samples)} samples, too few")
        joules = self._counted() if self.sensor.is_counter else self._integrated()
        return {
            "sensor": self.sensor.name,
            "includes": self.sensor.includes,
            "joules": joules,
            "seconds": self.seconds,
            "mean_w": joules / self.seconds,
            "samples": len(self._samples),
            "samples_per_second": len(self._samples) / self.seconds,
        }

    def _counted(self) -> float:
        joules = self._samples[-1][1] - self._samples[0][1]
        if joules < 0:
            if self.sensor.wraps_at is None:
                raise SensorError(f"{self.sensor.name} went backwards by {-joules:g} J")
            joules += self.sensor.wraps_at
        return joules

    def _integrated(self) -> float:
        """Sum up power by trapezoids over the time of the samples, carried to the length of the block."""
        joules = sum(0.5 * (w0 + w1) * (t1 - t0) for (t0, w0), (t1, w1) in zip(self._samples[:-1], self._samples[1:]))
        covered = self._samples[-1][0] - self._samples[0][0]
        return joules * self.seconds / covered

    def _sample(self) -> None:
        while not self._stop.wait(self.sensor.interval_s) and self._failure is None:
            self._take()

    def _take(self) -> None:
        if self._failure is not None:
            return
        try:
            value = self.sensor.read()
        except (OSError, ValueError, SensorError, subprocess.SubprocessError) as error:
            self._failure = str(error) or type(error).__name__
            return
        self._samples.append((time.perf_counter(), value))
