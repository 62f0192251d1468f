"""`edgekd evaluate`: the metric of a file, in its runtime."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from edgekd.cli.options import compute_options


@click.command(epilog="\b\nExample:\n  edgekd evaluate runs/model-rpi4/artifacts/model.int8.onnx --data images/")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Image folder, zip of one, or .npz.")
@click.option("--part", type=click.Choice(["train", "validation", "test"]), default="test", show_default=True)
@click.option("--task", help="What loss and metric are. [what the artifact says]")
@compute_options
def evaluate(artifact: Path, data: Path, part: str, task: str | None, as_json: bool, quiet: bool) -> None:  # noqa: ARG001  (shared option)
    """Measure an ONNX artifact's accuracy, or its task's metric, on one part of a data set, in onnxruntime."""
    from edgekd.export.evaluate import evaluate_artifact
    from edgekd.quantities import format_metric_value, format_standard_error

    metric = evaluate_artifact(artifact, data, part, task)
    if as_json:
        key = "accuracy" if metric.name == "accuracy" else "metric"
        click.echo(json.dumps({"artifact": str(artifact), key: dataclasses.asdict(metric)}, indent=2))
        return
    value, error = format_metric_value(metric.value, metric.unit), format_standard_error(metric)
    if metric.name == "accuracy":
        click.echo(f"{value}{error} % of {metric.samples:,} images ({metric.split})")
    else:
        direction = "higher" if metric.higher_is_better else "lower"
        told = f"{metric.samples:,} samples ({metric.split}), {direction} is better"
        click.echo(f"{metric.name} {value}{error} on {told}")
