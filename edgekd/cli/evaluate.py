"""`edgekd evaluate`: the accuracy of a file, in its runtime."""

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
@compute_options
def evaluate(artifact: Path, data: Path, part: str, as_json: bool, quiet: bool) -> None:  # noqa: ARG001  (shared option)
    """Measure an ONNX artifact's accuracy on one part of a data set, in onnxruntime."""
    from edgekd.export.evaluate import evaluate_artifact
    from edgekd.quantities import format_share

    metric = evaluate_artifact(artifact, data, part)
    if as_json:
        click.echo(json.dumps({"artifact": str(artifact), "accuracy": dataclasses.asdict(metric)}, indent=2))
        return
    error = metric.standard_error * 100
    click.echo(f"{format_share(metric.value)} ± {error:.2f} % of {metric.samples:,} images ({metric.split})")
