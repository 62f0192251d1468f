"""`edgekd inspect`: what a network is made of, and what it would cost."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from edgekd.cli.options import compute_options, model_options, model_source
from edgekd.quantities import format_count, format_energy_uj, format_latency_us
from edgekd.records import ChannelGroup, Cost


@click.command(epilog="\b\nExample:\n  edgekd inspect model.pt2 --target rpi4 --target jetson-tx2")
@model_options
@click.option("--target", "targets", multiple=True, help="Predict the cost on this device; may be repeated.")
@compute_options
def inspect(targets: tuple[str, ...], as_json: bool, quiet: bool, **options: Any) -> None:  # noqa: ARG001  (shared option)
    """Show a network's channel groups, size and predicted cost."""
    from edgekd.hardware.target import load_target
    from edgekd.models.load import load_model
    from edgekd.prune.groups import find_groups
    from edgekd.search.plan_costs import plan_cost

    devices = [load_target(name) for name in targets]
    source = model_source(options)
    model = load_model(source.path, arch=source.arch, input_shape=source.input_shape, trust_pickle=source.trust_pickle)
    channels = find_groups(model.network)
    plan = channels.full_plan()
    costs: dict[tuple[str, str, str], Cost] = {
        (device.name, processor, precision): plan_cost(model.network, channels, plan, device, precision, processor)
        for device in devices
        for precision, processor in device.artifacts
    }
    macs, parameters = _totals(model.network, channels)
    document = {
        "model": str(source.path),
        "form": model.form,
        "input_shape": list(model.input_shape),
        "classes": model.classes,
        "parameters": parameters,
        "macs": macs,
        "groups": [dataclasses.asdict(group) for group in channels.groups],
        "costs": [
            {"target": t, "processor": processor, "precision": precision, **dataclasses.asdict(cost)}
            for (t, processor, precision), cost in costs.items()
        ],
    }
    click.echo(json.dumps(document, indent=2) if as_json else _to_text(document, channels.groups, costs))


def _totals(network: Any, channels: Any) -> tuple[int, int]:
    import numpy as np

    from edgekd.search.space import count_operators

    widths = np.array([[group.units for group in channels.prunable]], dtype=np.int64).reshape(1, -1)
    macs = int(count_operators(network, channels, widths).macs.sum())
    return macs, sum(parameter.numel() for parameter in network.parameters())


def _to_text(
    document: dict[str, Any], groups: tuple[ChannelGroup, ...], costs: dict[tuple[str, str, str], Cost]
) -> str:
    shape = " x ".join(str(size) for size in document["input_shape"])
    lines = [
        f"{document['model']} ({document['form']}): input {shape}, {document['classes']} classes, "
        f"{format_count(document['parameters'])} parameters, {format_count(document['macs'])} MACs",
        "",
        f"{'group':<28}{'width':>6}  layers",
    ]
    for group in groups:
        remark = f"{len(group.members)} tied" if group.prunable else f"left whole: {group.reason}"
        lines.append(f"{group.name:<28}{group.units:>6}  {remark}")
    if costs:
        lines += ["", f"{'predicted on':<32}{'latency':>12}  {'80 % interval':<24}{'energy':>12}  origin"]
    for (target, processor, precision), cost in costs.items():
        place = f"{target} {processor} {precision}"
        if cost.latency_us is None:
            lines.append(f"{place:<32}{'not known':>12}")
            continue
        latency = cost.latency_us
        interval = f"{format_latency_us(latency.low)} to {format_latency_us(latency.high)}"
        energy = format_energy_uj(cost.energy_uj.value) if cost.energy_uj else "not known"
        mark = ", extrapolated" if latency.extrapolated else ""
        lines.append(
            f"{place:<32}{format_latency_us(latency.value):>12}  {interval:<24}{energy:>12}  {latency.origin}{mark}"
        )
    return "\n".join(lines)
