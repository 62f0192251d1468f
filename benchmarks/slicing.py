"""Time to a network with the widths of a plan: EdgeKD's slicing beside torch-pruning's prune-a-copy, in one run.

    python benchmarks/slicing.py [--repeats 9]

Prints medians and ratios and writes `benchmarks/results/slicing.json`.
"""

from __future__ import annotations

import argparse
import copy
import warnings
from collections.abc import Callable
from typing import Any

import timing
import torch
from architectures import MobileNetV2, ResNet56
from torch import nn

from edgekd.models.exported import export_program
from edgekd.models.rewrite import rebuild
from edgekd.prune.groups import find_groups
from edgekd.prune.importance import rank_units
from edgekd.prune.slicing import narrow
from edgekd.records import Plan

NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "CIFAR ResNet-56": (ResNet56, (3, 32, 32)),
    "MobileNetV2": (MobileNetV2, (3, 96, 96)),
}


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


def measure(model: nn.Module, shape: tuple[int, ...], *, label: str, repeats: int) -> dict[str, Any]:
    """Time each way to half the width."""
    network = rebuild(export_program(model, (torch.zeros(2, *shape),)))
    channels = rank_units(network, find_groups(network))
    plan = Plan(widths=tuple((group.name, max(1, group.units // 2)) for group in channels.prunable))
    ways = {
        "edgekd find groups": lambda: find_groups(network),
        "edgekd narrow": lambda: narrow(network, channels, plan),
        "torch-pruning prune a copy": lambda: prune_copy(model, torch.zeros(1, *shape)),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        measured = timing.compare(ways, label=label, repeats=repeats)
    ratio = timing.ratio(measured, "torch-pruning prune a copy", "edgekd narrow")
    return {"milliseconds": measured, "ratio": ratio}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    torch.manual_seed(0)
    networks = {
        name: measure(factory().eval(), shape, label=name, repeats=repeats)
        for name, (factory, shape) in NETWORKS.items()
    }
    timing.keep("slicing", repeats=repeats, networks=networks)


if __name__ == "__main__":
    main()
