"""`edgekd export`: the files a target wants, of a model as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from edgekd.cli.options import compute_options, data_options, load_with_data, model_options, show_remarks
from edgekd.quantities import format_size


@click.command(epilog="\b\nExample:\n  edgekd export student.pt2 --target rpi4 --data images/ --output artifacts/")
@model_options
@click.option("--target", "target_name", required=True, help="Device; `edgekd targets list` names them.")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Folder for the files.")
@data_options("Calibrates int8, which is left out without it.")
@compute_options
def export(target_name: str, output: Path, as_json: bool, quiet: bool, **options: Any) -> None:
    """Write a model as ONNX in every precision of a target, each compared with the model in onnxruntime."""
    from edgekd.hardware.target import load_target
    from edgekd.steps import export_model

    target = load_target(target_name)
    model, inputs = load_with_data(options)
    show_remarks(model.remarks)
    paths = export_model(model, target, output=output, stem=options["model"].stem, inputs=inputs)
    if inputs is None and not quiet and any(precision == "int8" for precision, _ in target.artifacts):
        click.echo("note: no int8 file: its ranges need --data", err=True)
    files = [{"path": str(path), "size_bytes": path.stat().st_size} for path in paths]
    text = "\n".join(f"{path}  {format_size(path.stat().st_size)}" for path in paths)
    click.echo(json.dumps({"schema_version": 1, "files": files}, indent=2) if as_json else text)
