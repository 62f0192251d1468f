"""How well the score of the search foretells accuracy after fine-tuning, by the number of recalibration images.

    python benchmarks/recalibration.py [--seconds 200] [--plans 24]

Random plans of ResNet-20 on CIFAR-10 images, each sliced, its batch norms estimated anew on 64 to 1,024 training
images, its loss measured on the search images, and then fine-tuned for one pass over 10,000 training images. Goes on
where it stopped. Prints the rank correlation (Kendall's tau-b) of the two and writes
`benchmarks/results/recalibration.json`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any

import cifar10
import numpy as np

from edgekd.inputs import Inputs
from edgekd.prune.groups import ChannelMap
from edgekd.ranking import rank_groups
from edgekd.records import Plan
from edgekd.search.accuracy import candidate_network, candidate_score
from edgekd.search.space import width_space

COUNTS = (64, 128, 256, 512, 1024)
MULTIPLE = 4
# Every plan has groups around a width ratio of its own, as the plans of a search have that lie along a front.
CENTERS, SPREAD = (0.5, 1.0), 0.15
RESAMPLES = 500


def random_plans(channels: ChannelMap, count: int) -> list[Plan]:
    """Return plans drawn from one seed, so that fewer are the first of more."""
    space = width_space(channels, MULTIPLE)
    generator = np.random.default_rng(0)
    plans = []
    for _ in range(count):
        ratios = generator.uniform(*CENTERS) + generator.normal(0.0, SPREAD, size=len(space.choices))
        widths = [min(c, key=lambda w: abs(w - r * c[-1])) for c, r in zip(space.choices, ratios, strict=True)]
        plans.append(space.plan(np.array(widths)))
    return plans


def score(inputs: Inputs, channels: ChannelMap, plan: Plan) -> dict[str, Any]:
    """Return the search's score of a plan for each count, the seconds it took, and the accuracy after fine-tuning."""
    network, splits = inputs.model.network, inputs.splits
    losses, seconds = {}, {}
    for count in COUNTS:
        samples = splits.train.sample(count, cifar10.RECIPE.seed)
        began = time.monotonic()
        candidate = candidate_network(network, channels, plan, samples, inputs.normalization)
        seconds[str(count)] = time.monotonic() - began
        losses[str(count)] = candidate_score(candidate, splits.search, inputs.normalization).loss
    tuned = cifar10.fine_tune(candidate, inputs, 0)
    return {"losses": losses, "recalibration_seconds": seconds, "tuned_accuracy": tuned}


def correlations(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return Kendall's tau of low losses with high accuracies for each count, and its 90 % bootstrap interval."""
    from scipy.stats import kendalltau

    accuracies = np.array([entry["tuned_accuracy"] for entry in entries.values()])
    draws = np.random.default_rng(0).integers(0, len(accuracies), size=(RESAMPLES, len(accuracies)))
    found = {}
    for count in COUNTS:
        losses = np.array([entry["losses"][str(count)] for entry in entries.values()])
        taus = [kendalltau(-losses[draw], accuracies[draw]).statistic for draw in draws]
        low, high = np.nanquantile(taus, (0.05, 0.95))
        tau = kendalltau(-losses, accuracies).statistic
        seconds = np.median([entry["recalibration_seconds"][str(count)] for entry in entries.values()])
        found[str(count)] = {"tau": tau, "low": low, "high": high, "seconds": float(seconds)}
    return found


def table(found: Mapping[str, Mapping[str, float]]) -> str:
    """Return the correlations, in Markdown."""
    lines = ["| images | Kendall's tau (90 % interval) | seconds to slice and recalibrate |", "|---|---|---|"]
    for count, row in found.items():
        lines.append(f"| {count} | {row['tau']:.2f} ({row['low']:.2f} to {row['high']:.2f}) | {row['seconds']:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure what is left, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plans", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=3600.0, help="begin no measurement after so long")
    options = parser.parse_args()
    entries = cifar10.Entries("recalibration", options.seconds)
    inputs = cifar10.load("resnet20")
    channels = rank_groups(inputs.model.network, cifar10.RECIPE.importance)
    for plan in random_plans(channels, options.plans):
        entries.measure(plan.id, lambda p=plan: score(inputs, channels, p))
    found = correlations(entries.known) if len(entries.known) > 2 else {}
    entries.write({"plans": len(entries.known), "kendall_tau": found})
    print(table(found))
    print(f"{entries.left} measurements left")


if __name__ == "__main__":
    main()
