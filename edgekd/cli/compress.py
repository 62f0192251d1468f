"""`edgekd compress`: the main job."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from edgekd.cli.options import compute_options, model_options, model_source, show_remarks
from edgekd.errors import InputError
from edgekd.quantities import parse_energy_uj, parse_latency_us, parse_size
from edgekd.records import Budget, Precision


@click.command(
    epilog="\b\nExample:\n  edgekd compress model.pt2 --data images/ --target rpi4 --max-size 250KB --epochs 10"
)
@model_options
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Image folder, zip of one, or .npz.")
@click.option("--target", "target_name", required=True, help="Device; `edgekd targets list` names them.")
@click.option("--max-size", help="Budget for the ONNX file that --size-of names, for instance 250KB.")
@click.option("--max-latency", help="Budget for the predicted latency, for instance 3ms.")
@click.option("--max-energy", help="Budget for the predicted energy of an inference, for instance 10mJ.")
@click.option("--size-of", type=click.Choice(["int8", "fp16", "fp32"]), help="Which file --max-size is for. [int8]")
@click.option("--epochs", type=int, help="Training epochs, fake-quantized ones included. [10]")
@click.option("--evaluations", type=int, help="Plans whose loss the search measures. [192]")
@click.option("--learning-rate", type=float, help="Highest learning rate of the float epochs. [0.05]")
@click.option("--train-precision", type=click.Choice(["fp32", "bf16"]), help="Arithmetic of float epochs. [fp32]")
@click.option("--augment", help="Comma-separated: crop, flip; or none. [crop,flip]")
@click.option("--holdout", type=click.Choice(["train", "test"]), help="Where validation images come from. [train]")
@click.option("--baseline", is_flag=True, default=None, help="Also train the original as long, for comparison.")
@click.option(
    "--reuse",
    type=click.Path(path_type=Path),
    help="Take over what this run of the same model, data and recipe measured and trained.",
)
@click.option("--reuse-parts", help="What of it, comma-separated. [losses,baseline,student]")
@click.option("--seed", type=int, help="Of everything random. [0]")
@click.option("--recipe", type=click.Path(path_type=Path), help="TOML file of settings; options win over it.")
@click.option("--export", "exports", default=None, help="onnx, or onnx,tvm. [onnx, and tvm where it can be built]")
@click.option("--run", type=click.Path(path_type=Path), help="Folder for the results. [runs/MODEL-TARGET]")
@click.option("--resume", is_flag=True, help="Go on with the run in that folder.")
@click.option("--cache", type=click.Path(path_type=Path), help="Folder that keeps decoded images for other runs.")
@compute_options
def compress(target_name: str, data: Path, exports: str | None, resume: bool, as_json: bool, **options: Any) -> None:
    """Compress a trained network into verified artifacts for a device, with a report."""
    from edgekd.hardware.target import load_target
    from edgekd.job import REUSABLE, Job
    from edgekd.pipeline import compress as run_job
    from edgekd.progress import Lines, Silent
    from edgekd.report.document import report_to_json
    from edgekd.report.text import render_text

    target = load_target(target_name)
    recipe = _recipe(options)
    source = model_source(options)
    run = options["run"] or Path("runs") / f"{source.path.stem}-{target.name}"
    job = Job(
        source=source,
        data=data,
        target=target,
        budgets=_budgets(options, recipe.size_of),
        recipe=recipe,
        run=run,
        with_tvm=_with_tvm(exports, target_name),
        is_resumed=resume,
        cache=options["cache"],
        reuse=options["reuse"],
        reuse_parts=REUSABLE if options["reuse_parts"] is None else tuple(options["reuse_parts"].split(",")),
        command=shlex.join(["edgekd", *sys.argv[1:]]),
    )
    report = run_job(job, Silent() if options["quiet"] else Lines(sys.stderr))
    show_remarks(finding for finding in report.findings if finding.subject == str(source.path))
    click.echo(report_to_json(report) if as_json else render_text(report), nl=not as_json)
    click.echo(f"report: {run / 'report' / 'report.html'}", err=True)


def _recipe(options: dict[str, Any]) -> Any:
    from edgekd.recipe import Recipe, read_recipe

    values = read_recipe(options["recipe"]) if options["recipe"] else {}
    for name in ("epochs", "evaluations", "learning_rate", "holdout", "seed", "size_of", "baseline", "train_precision"):
        if options[name] is not None:
            values[name] = options[name]
    if options["augment"] is not None:
        values["augmentations"] = tuple(n for n in options["augment"].split(",") if n and n != "none")
    from edgekd.data.augment import check_augmentations

    recipe = Recipe(**values)
    check_augmentations(recipe.augmentations)
    return recipe


def _budgets(options: dict[str, Any], size_of: Precision) -> tuple[Budget, ...]:
    budgets = []
    if options["max_size"] is not None:
        limit = parse_size(options["max_size"], "--max-size")
        budgets.append(Budget(quantity="size_bytes", limit=limit, precision=size_of))
    if options["max_latency"] is not None:
        limit_us = parse_latency_us(options["max_latency"], "--max-latency")
        budgets.append(Budget(quantity="latency_us", limit=limit_us))
    if options["max_energy"] is not None:
        limit_uj = parse_energy_uj(options["max_energy"], "--max-energy")
        budgets.append(Budget(quantity="energy_uj", limit=limit_uj))
    return tuple(budgets)


def _with_tvm(exports: str | None, target_name: str) -> bool:
    from edgekd.errors import EdgeKDError
    from edgekd.export.tvm_backend import require_tvm
    from edgekd.hardware.target import load_target

    if exports is not None:
        chosen = {name.strip() for name in exports.split(",")}
        if not chosen <= {"onnx", "tvm"} or "onnx" not in chosen:
            raise InputError("--export", expected="onnx, or onnx,tvm", found=f"'{exports}'", hint="Choose one.")
        return "tvm" in chosen
    try:
        require_tvm(load_target(target_name).processor("cpu"))
    except EdgeKDError as error:
        click.echo(f"note: no TVM library: {error}", err=True)
        return False
    return True
