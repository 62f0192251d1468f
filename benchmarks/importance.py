"""Which importance criterion leaves the best network: each at equal widths, on CIFAR-10 images.

    python benchmarks/importance.py [--network resnet20] [--seeds 3] [--seconds 200]

Goes on where it stopped. Prints a table and writes `benchmarks/results/importance_<network>.json`. Of each criterion
and plan: loss on the search images and accuracy on the validation images after slicing and batch-norm recalibration,
and accuracy after the same short fine-tuning. Seeds decide the training images of all three.
"""

from __future__ import annotations

import argparse
import statistics
from itertools import product
from typing import Any

import cifar10
import numpy as np

from edgekd.inputs import Inputs
from edgekd.prune.groups import ChannelMap, find_groups
from edgekd.prune.importance import CRITERIA
from edgekd.ranking import rank_groups
from edgekd.records import Plan
from edgekd.search.accuracy import candidate_network, candidate_score
from edgekd.search.space import width_space
from edgekd.steps import uniform_plan

MULTIPLE = 4
TUNED = ("half", "mixed")


def plans(channels: ChannelMap) -> dict[str, Plan]:
    """Return the plans: two uniform ones, and one whose groups keep 40 to 100 %, drawn once."""
    space = width_space(channels, MULTIPLE)
    ratios = np.random.default_rng(7).uniform(0.4, 1.0, size=len(space.choices))
    mixed = [
        min(choices, key=lambda w: abs(w - r * choices[-1])) for choices, r in zip(space.choices, ratios, strict=True)
    ]
    return {
        "three quarters": uniform_plan(channels, 0.75, MULTIPLE),
        "half": uniform_plan(channels, 0.5, MULTIPLE),
        "mixed": space.plan(np.array(mixed)),
    }


def score(inputs: Inputs, criterion: str, plan: Plan, seed: int, *, is_tuned: bool) -> dict[str, float]:
    """Measure one criterion on one plan."""
    network, splits = inputs.model.network, inputs.splits
    samples = splits.train.sample(cifar10.RECIPE.recalibration_samples, seed)
    channels = rank_groups(network, criterion, inputs=inputs, samples=samples, seed=seed)
    candidate = candidate_network(network, channels, plan, samples, inputs.normalization)
    result = {
        "search_loss": candidate_score(candidate, splits.search, inputs.normalization).loss,
        "accuracy": cifar10.accuracy(candidate, inputs),
    }
    if is_tuned:
        result["tuned_accuracy"] = cifar10.fine_tune(candidate, inputs, seed)
    return result


def table(entries: dict[str, dict[str, Any]]) -> str:
    """Return the medians and ranges over seeds, in Markdown."""
    lines = [
        "| plan | criterion | seeds | loss, search images | accuracy | accuracy after fine-tuning |",
        "|---|---|---|---|---|---|",
    ]
    names = dict.fromkeys(key.rpartition("/")[0] for key in entries)
    for name in sorted(names, key=lambda name: (name.partition("/")[0], -_median(entries, name, "accuracy"))):
        plan, _, criterion = name.partition("/")
        shown = [_shown(entries, name, quantity) for quantity in ("search_loss", "accuracy", "tuned_accuracy")]
        seeds = len(_values(entries, name, "accuracy"))
        lines.append(f"| {plan} | {criterion} | {seeds} | {' | '.join(shown)} |")
    return "\n".join(lines)


def _values(entries: dict[str, dict[str, Any]], name: str, quantity: str) -> list[float]:
    return [v[quantity] for k, v in entries.items() if k.rpartition("/")[0] == name and quantity in v]


def _median(entries: dict[str, dict[str, Any]], name: str, quantity: str) -> float:
    return statistics.median(_values(entries, name, quantity))


def _shown(entries: dict[str, dict[str, Any]], name: str, quantity: str) -> str:
    values = _values(entries, name, quantity)
    if not values:
        return "-"
    form = ".1%" if "accuracy" in quantity else ".3f"
    middle, low, high = (format(choose(values), form) for choose in (statistics.median, min, max))
    return middle if len(values) == 1 else f"{middle} ({low} to {high})"


def main() -> None:
    """Measure what is left, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=["resnet20", "resnet56"], default="resnet20")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3600.0, help="begin no measurement after so long")
    options = parser.parse_args()
    entries = cifar10.Entries(f"importance_{options.network}", options.seconds)
    inputs = cifar10.load(options.network)
    chosen = plans(find_groups(inputs.model.network))
    # Of the plan that takes longest, seeds come last, so that a table is whole early.
    for seed, name in sorted(
        product(range(options.seeds), chosen), key=lambda pair: (pair[0] > 0 and pair[1] == "mixed", pair[0])
    ):
        for criterion in CRITERIA:
            plan = chosen[name]
            is_tuned = name in TUNED and options.network == "resnet20"
            entries.measure(
                f"{name}/{criterion}/{seed}",
                lambda c=criterion, p=plan, s=seed, t=is_tuned: score(inputs, c, p, s, is_tuned=t),
            )
    entries.write({"plans": {name: plan.document() for name, plan in chosen.items()}})
    print(table(entries.known))
    print(f"{entries.left} measurements left")


if __name__ == "__main__":
    main()
