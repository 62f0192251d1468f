"""How well the table of this machine predicts networks it has not seen, beside a prediction in proportion to MACs.

    edgekd profile ops --target host --threads 1 --threads 2
    python benchmarks/host_profile.py [--profiles FOLDER]

Every network is measured as `edgekd profile ops` measures: in rounds, of which the fastest counts. What is measured
lies in results/host_profile.jsonl until the end, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from architectures import VGG, DenseNet, MobileNetV2, ResNet
from scipy.stats import spearmanr
from timing import RESULTS
from torch import nn

from edgekd.hardware.cost import load_cost_model, predict_cost
from edgekd.hardware.data import users_profiles
from edgekd.hardware.measured import MeasuredTable
from edgekd.models.exported import export_program
from edgekd.models.rewrite import rebuild
from edgekd.profiling.connection import connect
from edgekd.profiling.journal import Entry, Journal
from edgekd.profiling.operators import OperatorSettings, measure_batch
from edgekd.profiling.place import Place
from edgekd.profiling.subjects import Subject, plan_subject
from edgekd.prune.groups import find_groups
from edgekd.prune.importance import rank_units
from edgekd.records import TensorSpec
from edgekd.search.space import width_space

# Architecture, side of its input, and how many plans of random widths.
FAMILIES = {
    "ResNet-20": (lambda: ResNet(20), 32, 6),
    "ResNet-56": (lambda: ResNet(56), 32, 6),
    "MobileNetV2": (MobileNetV2, 96, 6),
    "VGG-11": (VGG, 32, 6),
    "DenseNet-40": (DenseNet, 32, 6),
}
CHANNEL_MULTIPLE = 8
SEED = 0
SETTINGS = OperatorSettings(precisions=("fp32", "int8"), threads=(1, 2))


def subjects(family: str) -> list[Subject]:
    """Return plans of an architecture; each width is uniform among a quarter of the channels to all of them."""
    make, side, count = FAMILIES[family]
    inputs = (TensorSpec(name="input", shape=(3, side, side)),)
    module: nn.Module = make()
    network = rebuild(export_program(module.eval(), (torch.zeros(2, 3, side, side),)))
    channels = rank_units(network, find_groups(network))
    space = width_space(channels, CHANNEL_MULTIPLE)
    generator = np.random.default_rng(SEED)
    found = []
    for number in range(count):
        widths = [
            int(generator.choice([width for width in choices if width >= choices[-1] / 4])) for choices in space.choices
        ]
        plan = space.plan(np.array(widths))
        found.append(plan_subject(f"{family} {number}", network, channels, plan, inputs))
    return found


def main() -> None:
    """Measure, predict, print a table and write results/host_profile.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profiles", type=Path, default=users_profiles(), help="Folder of measured tables.")
    profiles = parser.parse_args().profiles
    batches = {family: subjects(family) for family in FAMILIES}
    with connect(Place(kind="local")) as device:
        journal = Journal(RESULTS / "host_profile.jsonl", device.fingerprint)
        for family, batch in batches.items():
            print(f"measuring {family}", flush=True)
            measure_batch(device, batch, journal, SETTINGS, is_check=True)
    settings = []
    for setting in SETTINGS.each:
        measured = load_cost_model("host", "cpu", setting.precision, threads=setting.threads, folder=profiles)
        if not isinstance(measured, MeasuredTable):
            raise SystemExit(f"no table of {setting} under {profiles}: edgekd profile ops --target host")
        entries = journal.best(setting, is_check=True)
        networks = list(_networks(measured, {e.network: e for e in entries}))
        settings.append({"precision": setting.precision, "threads": setting.threads, **_summary(networks, measured)})
    document = {
        "seed": SEED,
        "machine": measured.measured_on,
        "runtime": measured.runtime_version,
        "settings": settings,
    }
    print(table(settings))
    (RESULTS / "host_profile.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    journal.path.unlink()


def _networks(found: MeasuredTable, entries: dict[str, Entry]) -> Iterator[dict[str, Any]]:
    for name, entry in entries.items():
        prediction = predict_cost(found, entry.operators).latency_us
        yield {
            "name": name,
            "mmacs": round(float(entry.operators.macs.sum()) / 1e6, 2),
            "measured_us": round(entry.latency_us, 1),
            "predicted_us": round(prediction.value, 1),
            "interval_us": [round(prediction.low, 1), round(prediction.high, 1)],
        }


def _summary(networks: list[dict[str, Any]], found: MeasuredTable) -> dict[str, Any]:
    measured, predicted, macs = (
        np.array([n[key] for n in networks]) for key in ("measured_us", "predicted_us", "mmacs")
    )
    # One rate for all, the best in hindsight.
    proportional = macs * np.median(measured / macs)
    low, high = np.array([n["interval_us"] for n in networks]).T
    return {
        "networks_of_the_table": found.networks,
        "rows": len(found.rows),
        "table": _errors(measured, predicted),
        "macs": _errors(measured, proportional),
        "interval_coverage": float(((measured >= low) & (measured <= high)).mean()),
        "networks": networks,
    }


def _errors(measured: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    errors = np.abs(predicted / measured - 1)
    return {
        "median_error": float(np.median(errors)),
        "within_15_percent": float((errors <= 0.15).mean()),
        "spearman": float(spearmanr(measured, predicted).statistic),
    }


def table(settings: Sequence[Mapping[str, Any]]) -> str:
    """Return the errors as Markdown, a row for each precision and number of threads."""
    lines = [
        "| | networks | median error | within 15 % | rank correlation | 80 % intervals hold | in proportion to MACs |",
        "|---|---|---|---|---|---|---|",
    ]
    for found in settings:
        errors, macs = found["table"], found["macs"]
        threads = "1 thread" if found["threads"] == 1 else f"{found['threads']} threads"
        cells = (
            f"{found['precision']}, {threads}",
            str(len(found["networks"])),
            *(f"{errors['median_error']:.1%}", f"{errors['within_15_percent']:.0%}", f"{errors['spearman']:.2f}"),
            f"{found['interval_coverage']:.0%}",
            f"{macs['median_error']:.0%}, {macs['within_15_percent']:.0%}, {macs['spearman']:.2f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
