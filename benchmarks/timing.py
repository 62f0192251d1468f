"""Times of several ways to do one thing, as medians, and the file they are kept in."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"
Milliseconds = dict[str, float]


def compare(ways: Mapping[str, Callable[[], object]], *, label: str, repeats: int) -> dict[str, Milliseconds]:
    """Time every way `repeats` times after one call that is not counted, print and return median, least and most."""
    measured = {}
    for way, function in ways.items():
        function()
        times = [_once(function) for _ in range(repeats)]
        measured[way] = {"median": statistics.median(times), "min": min(times), "max": max(times)}
        low, high = measured[way]["min"], measured[way]["max"]
        print(
            f"{label:<24}{way:<28} median {measured[way]['median']:8.1f} ms   ({low:.1f} to {high:.1f}, {repeats} runs)"
        )
    return measured


def ratio(measured: Mapping[str, Milliseconds], slow: str, fast: str) -> float:
    """Return how many times as long `slow` takes, by medians, and print it."""
    value = measured[slow]["median"] / measured[fast]["median"]
    print(f"{'':<24}{slow} / {fast}: {value:.0f}")
    return value


def keep(name: str, *, repeats: int, networks: Mapping[str, Any]) -> None:
    """Write `results/<name>.json`."""
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    document = {"repeats": repeats, "machine": machine, "networks": dict(networks)}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _once(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return (time.perf_counter() - began) * 1000
