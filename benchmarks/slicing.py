"""Time to a network with the widths of a plan: EdgeKD's slicing beside torch-pruning's prune-a-copy, in one run.

    python benchmarks/slicing.py [--repeats 9]

Prints medians and the ratio and writes `benchmarks/results/slicing.json`. The network is a CIFAR ResNet-56 with
projection shortcuts, since torch-pruning 1.6.1 breaks the padded ones; random weights, which time does not depend on.
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
import torch.nn.functional as F
from torch import nn

from edgekd.models.exported import export_program
from edgekd.models.rewrite import rebuild
from edgekd.prune.groups import find_groups
from edgekd.prune.importance import rank_units
from edgekd.prune.slicing import narrow
from edgekd.records import Plan

RESULTS = Path(__file__).parent / "results"


class Block(nn.Module):
    """conv-bn-relu-conv-bn with a 1x1 projection where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet56(nn.Module):
    """CIFAR ResNet-56, option B."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(16)
        blocks = []
        inputs = 16
        for outputs, stride in ((16, 1), (32, 2), (64, 2)):
            for index in range(9):
                blocks.append(Block(inputs, outputs, stride if index == 0 else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        return self.linear(self.blocks(F.relu(self.bn(self.conv(x)))).mean((2, 3)))


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


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    torch.manual_seed(0)
    model, example = ResNet56().eval(), torch.zeros(1, 3, 32, 32)
    network = rebuild(export_program(model, (torch.zeros(2, 3, 32, 32),)))
    channels = rank_units(network, find_groups(network))
    plan = Plan(widths=tuple((group.name, group.units // 2) for group in channels.prunable))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        measured = {
            "edgekd find groups": median_ms(lambda: find_groups(network), repeats),
            "edgekd narrow": median_ms(lambda: narrow(network, channels, plan), repeats),
            "torch-pruning prune a copy": median_ms(lambda: prune_copy(model, example), repeats),
        }
    ratio = measured["torch-pruning prune a copy"][0] / measured["edgekd narrow"][0]
    for name, (median, low, high) in measured.items():
        print(f"{name:<28} median {median:8.1f} ms   ({low:.1f} to {high:.1f}, {repeats} runs)")
    print(f"torch-pruning / edgekd narrow: {ratio:.0f}")
    document = {
        "network": "CIFAR ResNet-56, projection shortcuts, half width",
        "repeats": repeats,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "milliseconds": {n: {"median": m, "min": lo, "max": hi} for n, (m, lo, hi) in measured.items()},
        "ratio": ratio,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "slicing.json").write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
