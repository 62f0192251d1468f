"""Run a model in onnxruntime until the median of its time is known.

When that is, how the times are summed up and what the inputs are holds for other runtimes, too (`settle`, `warm_up`,
`quantiles`, `random_input`).
"""

from __future__ import annotations

import json
import os
import re
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgekd.agent.energy import Meter
from edgekd.agent.sensors import named_sensor

# Runs between two looks at the clock and the medians.
BATCH = 10
# The median counts as known when those of so many batches in a row agree.
_AGREEING = 5


class MeasureError(Exception):
    """A model cannot be run as asked."""


def measure(path: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Return the distribution of a model's latency, the memory it took, and the time of its operators if asked.

    Args:
        path: The model.
        request: `threads`, `pin` (cores, or `None`), `providers`, `options` (of the session), `shapes` (by input,
            where the file leaves them open), `warmup_s`, `min_runs`, `max_runs`, `max_s`, `tolerance`, `operators`,
            `sensor` (a name, or `command:...`), `energy_s`, `idle_s` (to measure idle power first).

    Raises:
        MeasureError: The model cannot be run as asked.
        SensorError: There is no such sensor, or it stopped.
    """
    import onnxruntime

    if request.get("pin"):
        os.sched_setaffinity(0, request["pin"])
    before = _resident_bytes()
    session, profile = _open(onnxruntime, path, request)
    feed = _random_inputs(session, request.get("shapes") or {})

    def timed_runs() -> list[float]:
        return [_seconds(session, feed) for _ in range(BATCH)]

    warm_runs = warm_up(lambda: session.run(None, feed), request["warmup_s"])
    samples, stable = settle(timed_runs, request)
    result = {
        "runs": len(samples),
        "warmup_runs": warm_runs,
        "stable": stable,
        "providers": session.get_providers(),
        "peak_bytes": max(0, _peak_bytes() - before),
    }
    result.update(quantiles(samples))
    if profile is not None:
        result["operators"] = _operators(Path(session.end_profiling()), warm_runs)
    if request.get("sensor"):
        result["energy"] = _energy(session, feed, request)
    return result


def _energy(session: Any, feed: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    """Return what a sensor says while the model runs over and over, for each inference."""
    sensor = named_sensor(request["sensor"])
    try:
        idle = None
        if request.get("idle_s"):
            with Meter(sensor) as meter:
                time.sleep(request["idle_s"])
            idle = meter.result()["mean_w"]
        runs = 0
        end = time.perf_counter() + request["energy_s"]
        with Meter(sensor) as meter:
            while time.perf_counter() < end:
                session.run(None, feed)
                runs += 1
        found = meter.result()
    finally:
        sensor.close()
    return dict(found, runs=runs, idle_w=idle, joules_per_inference=float(found["joules"]) / runs)


def _open(onnxruntime: Any, path: Path, request: dict[str, Any]) -> tuple[Any, str | None]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = request["threads"]
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    for key, value in sorted((request.get("options") or {}).items()):
        options.add_session_config_entry(key, value)
    profile = None
    if request.get("operators"):
        profile = f"{tempfile.mkdtemp(dir=path.parent)}/profile"
        options.enable_profiling = True
        options.profile_file_prefix = profile
    missing = set(request["providers"]) - set(onnxruntime.get_available_providers())
    if missing:
        raise MeasureError(
            f"onnxruntime {onnxruntime.__version__} here has no {', '.join(sorted(missing))}, "
            f"only {', '.join(onnxruntime.get_available_providers())}"
        )
    return onnxruntime.InferenceSession(str(path), options, providers=request["providers"]), profile


def _random_inputs(session: Any, shapes: dict[str, list[int]]) -> dict[str, Any]:
    """Return inputs of batch size 1: normal numbers, whole ones below 2 where tokens are asked for."""
    import numpy

    generator = numpy.random.RandomState(0)
    feed = {}
    for known in session.get_inputs():
        shape = shapes.get(known.name) or [size if isinstance(size, int) else 1 for size in known.shape]
        kind = known.type[len("tensor(") : -1]
        feed[known.name] = random_input(generator, shape, {"float": "float32", "double": "float64"}.get(kind, kind))
    return feed


def random_input(generator: Any, shape: list[int], dtype: str) -> Any:
    """Return an array of normal numbers, or of whole ones below 2 where the type is no float."""
    values = generator.standard_normal(shape) if dtype.startswith("float") else generator.randint(0, 2, shape)
    return values.astype(dtype)


def warm_up(run: Callable[[], Any], seconds: float) -> int:
    """Run three times or more, until the time is over, and return how often."""
    end = time.perf_counter() + seconds
    runs = 0
    while runs < 3 or time.perf_counter() < end:
        run()
        runs += 1
    return runs


def settle(timed_runs: Callable[[], list[float]], request: dict[str, Any]) -> tuple[list[float], bool]:
    """Return seconds of single runs, and whether the median settled before the limits of runs and time.

    Args:
        timed_runs: Runs the model `BATCH` times and returns the seconds of each run.
        request: `min_runs`, `max_runs`, `max_s`, `tolerance`.
    """
    end = time.perf_counter() + request["max_s"]
    samples: list[float] = []
    medians: list[float] = []
    while len(samples) < request["max_runs"]:
        samples += timed_runs()
        medians.append(_quantile(sorted(samples[-BATCH:]), 0.5))
        last = medians[-_AGREEING:]
        middle = _quantile(sorted(last), 0.5)
        agrees = len(last) == _AGREEING and max(abs(m - middle) for m in last) <= request["tolerance"] * middle
        if agrees and len(samples) >= request["min_runs"]:
            return samples, True
        if time.perf_counter() > end and len(samples) >= BATCH:
            break
    return samples, False


def _seconds(session: Any, feed: dict[str, Any]) -> float:
    began = time.perf_counter()
    session.run(None, feed)
    return time.perf_counter() - began


def quantiles(samples: list[float]) -> dict[str, float]:
    """Return the distribution of seconds, in microseconds."""
    ordered = sorted(samples)
    shares = {"p50_us": 0.5, "p90_us": 0.9, "p99_us": 0.99}
    found = {name: 1e6 * _quantile(ordered, share) for name, share in shares.items()}
    return dict(found, min_us=1e6 * ordered[0], max_us=1e6 * ordered[-1], mean_us=1e6 * sum(ordered) / len(ordered))


def _quantile(ordered: list[float], share: float) -> float:
    """Return the quantile by linear interpolation between the two nearest values."""
    position = share * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (position - low) * (ordered[high] - ordered[low])


def _operators(path: Path, skipped_runs: int) -> list[dict[str, Any]]:
    """Return the median time of every operator in onnxruntime's profile, in the order they ran."""
    events = json.loads(path.read_text())
    times: dict[str, list[float]] = {}
    details: dict[str, dict[str, Any]] = {}
    for event in events:
        name = event.get("name", "")
        if event.get("cat") != "Node" or not name.endswith("_kernel_time"):
            continue
        node = name[: -len("_kernel_time")]
        times.setdefault(node, []).append(event["dur"])
        details[node] = event["args"]
    found = []
    for node, durations in times.items():
        kept = sorted(durations[skipped_runs:] or durations)
        told = details[node]
        found.append(
            {
                "name": node,
                "operator": told.get("op_name"),
                "p50_us": _quantile(kept, 0.5),
                "p90_us": _quantile(kept, 0.9),
                "p99_us": _quantile(kept, 0.99),
                "inputs": told.get("input_type_shape"),
                "outputs": told.get("output_type_shape"),
            }
        )
    return found


def _resident_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def _peak_bytes() -> int:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found = re.search(r"^VmHWM:\s*(\d+) kB", status, re.MULTILINE)
    return int(found.group(1)) * 1024 if found else 0
