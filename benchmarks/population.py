"""Costs of whole populations of plans: tables of pairs of widths beside the sum over operators, in one run.

    python benchmarks/population.py [--repeats 5]

Prints plans per second on one core, and the ratio, and writes `benchmarks/results/population.json`.
"""

from __future__ import annotations

import argparse

import numpy as np
import timing
import torch
from architectures import ResNet56

from edgekd.export.size import SizeModel
from edgekd.hardware.cost import load_cost_model, predict_energy_uj, predict_latency_us
from edgekd.hardware.target import load_target
from edgekd.models.exported import export_program
from edgekd.models.rewrite import rebuild
from edgekd.prune.groups import find_groups
from edgekd.search.plan_costs import cost_function
from edgekd.search.space import Widths, count_operators, width_space

PLANS, FEW = 200_000, 2_000


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    network = rebuild(export_program(ResNet56().eval(), (torch.zeros(2, 3, 32, 32),)))
    channels, target = find_groups(network), load_target("rpi4")
    precision, processor = target.artifacts[0]
    model = load_cost_model(target.name, processor, precision)
    assert model is not None
    space = width_space(channels, target.channel_multiple)
    generator = np.random.default_rng(0)
    drawn = np.stack([generator.choice(choices, PLANS) for choices in space.choices], axis=1)
    costs = cost_function(network, channels, space, target, SizeModel(precision=precision, graph_bytes=0))

    def one_by_one(widths: Widths) -> None:
        operators = count_operators(network, channels, widths)
        predict_latency_us(model, operators)
        predict_energy_uj(model, operators)

    measured = timing.compare(
        {
            f"tables, {PLANS:,} plans": lambda: costs(drawn),
            f"sum over operators, {FEW:,} plans": lambda: one_by_one(drawn[:FEW]),
        },
        label="CIFAR ResNet-56",
        repeats=repeats,
    )
    tables, sums = (entry["median"] for entry in measured.values())
    rates = {"tables": PLANS / tables * 1e3, "sum over operators": FEW / sums * 1e3}
    for way, rate in rates.items():
        print(f"{'':<24}{way:<28} {rate:,.0f} plans a second")
    result = {
        "milliseconds": measured,
        "plans per second": rates,
        "ratio": rates["tables"] / rates["sum over operators"],
    }
    timing.keep("population", repeats=repeats, networks={"CIFAR ResNet-56": result})


if __name__ == "__main__":
    main()
