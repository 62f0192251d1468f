"""`edgekd prune`: a model with fewer channels, and nothing else."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from edgekd.cli.options import (
    compute_options,
    data_options,
    importance_option,
    load_with_data,
    model_options,
    show_remarks,
)
from edgekd.errors import InputError
from edgekd.quantities import describe_metric, format_count


@click.command(epilog="\b\nExample:\n  edgekd prune model.pt2 --ratio 0.5 --multiple 8 --output half/")
@model_options
@click.option("--plan", "place", help="plan.json, or front.json#ID, or front.json for its plan of least loss.")
@click.option("--ratio", type=float, help="Instead of a plan: the share of every group that stays, for instance 0.5.")
@click.option("--multiple", type=click.IntRange(min=1), default=8, help="With --ratio: widths are multiples of it. [8]")
@importance_option
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Folder for the pruned model.")
@data_options("Estimates batch norms anew and measures the task's metric.")
@compute_options
def prune(
    place: str | None,
    ratio: float | None,
    multiple: int,
    importance: str | None,
    output: Path,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Prune a network to a plan: `student.pt2`, weights and plan, checked after writing."""
    import json

    from edgekd.models.evaluate import measure
    from edgekd.ranking import write_ranking
    from edgekd.steps import prune_model, ranked_for, read_plan, uniform_plan

    if (place is None) == (ratio is None):
        raise InputError("--plan, --ratio", expected="one of them", found="both or none", hint="Leave one out.")
    plan = read_plan(place) if place is not None else None
    model, inputs = load_with_data(options)
    show_remarks(model.remarks)
    channels, criterion = ranked_for(model, place, importance, inputs)
    if plan is None:
        assert ratio is not None  # one of the two is there
        plan = uniform_plan(channels, ratio, multiple)
    result = prune_model(model, channels, plan, output=output, inputs=inputs)
    write_ranking(output, channels, criterion)
    document: dict[str, Any] = {
        "schema_version": 1,
        "plan": plan.document(),
        "importance": criterion,
        "parameters": list(result.parameters),
        "macs": list(result.macs),
        "output": str(output),
    }
    if inputs is not None:
        validation, task = inputs.splits.validation, inputs.task
        metric = measure(result.network, validation, inputs.normalization, split="validation", task=task)
        document["metric"] = dataclasses.asdict(metric)
        document["description"] = describe_metric(metric)
    elif not quiet:
        click.echo("note: batch norms keep the statistics of the whole network; --data estimates them anew", err=True)
    click.echo(json.dumps(document, indent=2) if as_json else _text(document))


def _text(document: dict[str, Any]) -> str:
    lines = [f"plan {document['plan']['id']}, written to {document['output']}"]
    for name in ("parameters", "macs"):
        before, after = document[name]
        lines.append(f"{name:<11} {format_count(before)} -> {format_count(after)}")
    if "metric" in document:
        lines.append(f"before any training: {document['description']}")
    return "\n".join(lines)
