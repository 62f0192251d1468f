"""Time to a network with the widths of a plan: EdgeKD's slicing beside torch-pruning's prune-a-copy, in one run.

    python benchmarks/slicing.py [--repeats 9]

Prints medians and ratios and writes `benchmarks/results/slicing.json`.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from networks import MobileNetV2, ResNet56
from torch import nn

from edgekd.models.exported import export_program
from edgekd.models.rewrite import rebuild
from edgekd.prune.groups import find_groups
from edgekd.prune.importance import rank_units
from edgekd.prune.slicing import narrow
from edgekd.records import Plan

RESULTS = Path(__file__).parent / "results"


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "CIFAR ResNet-56": (ResNet56, (3, 32, 32)),
    "MobileNetV2": (MobileNetV2, (3, 96, 96)),
}


def median_ms(function: Callable[[], object], repeats: int) -> tuple[float, float, float]:
    """Return median, smallest and largest time in milliseconds, after one call that is not counted."""
    function()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times), min(times), max(times)


def prune_copy(model: nn.Module, example: torch.Tensor) -> nn.Module:
    """Return a copy at half width, as torch-pruning makes it."""
    import torch_pruning as tp

    pruned = copy.deepcopy(model)
    pruner = tp.pruner.MagnitudePruner(
        pruned, example, importance=tp.importance.GroupMagnitudeImportance(p=2), pruning_ratio=0.5, round_to=8,
        ignored_layers=[pruned.linear], in_channel_groups={}, out_channel_groups={}, channel_groups={}, num_heads={},
    )  # fmt: skip
    pruner.step()
    return pruned


def measure(model: nn.Module, shape: tuple[int, ...], repeats: int) -> dict[str, tuple[float, float, float]]:
    """Return the times of each way to half the width, in milliseconds."""
    network = rebuild(export_program(model, (torch.zeros(2, *shape),)))
    channels = rank_units(network, find_groups(network))
    plan = Plan(widths=tuple((group.name, max(1, group.units // 2)) for group in channels.prunable))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "edgekd find groups": median_ms(lambda: find_groups(network), repeats),
            "edgekd narrow": median_ms(lambda: narrow(network, channels, plan), repeats),
            "torch-pruning prune a copy": median_ms(lambda: prune_copy(model, torch.zeros(1, *shape)), repeats),
        }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    torch.manual_seed(0)
    networks = {}
    for name, (factory, shape) in NETWORKS.items():
        measured = measure(factory().eval(), shape, repeats)
        ratio = measured["torch-pruning prune a copy"][0] / measured["edgekd narrow"][0]
        for way, (median, low, high) in measured.items():
            print(f"{name:<18}{way:<28} median {median:8.1f} ms   ({low:.1f} to {high:.1f}, {repeats} runs)")
        print(f"{name:<18}torch-pruning / edgekd narrow: {ratio:.0f}")
        times = {n: {"median": m, "min": lo, "max": hi} for n, (m, lo, hi) in measured.items()}
        networks[name] = {"milliseconds": times, "ratio": ratio}
    document = {
        "repeats": repeats,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "networks": networks,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "slicing.json").write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
