"""`edgekd inspect`: what a network is made of, and what it would cost."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import click

from edgekd.cli.options import compute_options, model_options, model_source, show_remarks
from edgekd.quantities import format_count, format_energy_uj, format_latency_us, format_share, format_size
from edgekd.records import VALUE_BYTES

if TYPE_CHECKING:
    from edgekd.inspection import Inspection, PlaceCost
    from edgekd.records import Cost


@click.command(epilog="\b\nExample:\n  edgekd inspect model.pt2 --target rpi4 --target jetson-tx2")
@model_options
@click.option("--target", "targets", multiple=True, help="Predict the cost on this device; may be repeated.")
@click.option("--no-files", is_flag=True, help="Do not write ONNX files to know their sizes.")
@compute_options
def inspect(targets: tuple[str, ...], no_files: bool, as_json: bool, quiet: bool, **options: object) -> None:
    """Show a network's channel groups, sizes and predicted cost."""
    from edgekd.hardware.target import load_target
    from edgekd.inputs import load_source
    from edgekd.inspection import inspect_model

    devices = tuple(load_target(name) for name in targets)
    source = model_source(options)
    model = load_source(source)
    if not (no_files or quiet):
        click.echo("writing ONNX files to know their sizes", err=True)
    found = inspect_model(model, devices, with_files=not no_files)
    show_remarks(found.remarks)
    if as_json:
        click.echo(json.dumps({"schema_version": 1, "model": str(source.path), **dataclasses.asdict(found)}, indent=2))
    else:
        click.echo("\n".join([str(source.path), *_facts(found), "", *_groups(found), *_costs(found.costs)]))


def _facts(found: Inspection) -> list[str]:
    files = ", ".join(f"{name} {format_size(size)}" for name, size in found.file_bytes.items()) or "not written"
    peak = ", ".join(f"{name} {format_size(found.peak_activations * size)}" for name, size in VALUE_BYTES.items())
    facts = [
        ("form", found.form),
        *(
            (side, f"{spec.name}: {' x '.join(map(str, spec.shape)) or 'a number'}, {spec.dtype}")
            for side, specs in (("input", found.inputs), ("output", found.outputs))
            for spec in specs
        ),
        (
            "parameters",
            f"{format_count(found.parameters)}, of which {format_share(found.prunable_share)} can be pruned",
        ),
        ("MACs", format_count(found.macs)),
        ("ONNX file", files),
        ("activation peak", f"{peak} for one example"),
    ]
    return [f"{name:<17}{value}" for name, value in facts]


def _groups(found: Inspection) -> list[str]:
    lines = [f"{'group':<28}{'width':>6}  layers"]
    for group in found.groups:
        remark = f"{len(group.members)} tied" if group.prunable else f"left whole: {group.reason}"
        lines.append(f"{group.name:<28}{group.units:>6}  {remark}")
    return lines


def _costs(costs: tuple[PlaceCost, ...]) -> list[str]:
    if not costs:
        return []
    lines = ["", f"{'predicted on':<32}{'latency':>12}  {'80 % interval':<24}{'energy':>12}{'memory':>10}  origin"]
    for entry in costs:
        place = f"{entry.target} {entry.processor} {entry.precision}"
        lines.append(f"{place:<32}{_cost(entry.cost)}")
    return lines


def _cost(cost: Cost) -> str:
    memory = "not known" if cost.memory_bytes is None else format_size(cost.memory_bytes)
    if cost.latency_us is None:
        return f"{'not known':>12}  {'':<24}{'not known':>12}{memory:>10}"
    latency = cost.latency_us
    interval = f"{format_latency_us(latency.low)} to {format_latency_us(latency.high)}"
    energy = format_energy_uj(cost.energy_uj.value) if cost.energy_uj else "not known"
    mark = ", extrapolated" if latency.extrapolated else ""
    return f"{format_latency_us(latency.value):>12}  {interval:<24}{energy:>12}{memory:>10}  {latency.origin}{mark}"
