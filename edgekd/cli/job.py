"""The options of the commands that run a job, whole or up to the search, and the job they describe."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgekd.budgets import BOUNDED
from edgekd.cli.options import importance_option, model_options, model_source, read_budgets
from edgekd.errors import InputError
from edgekd.quantities import parse_duration_s

if TYPE_CHECKING:
    from edgekd.job import Job

_Function = TypeVar("_Function", bound=Callable[..., Any])
# What recipe.toml can say too.
_SETTINGS = (
    "task",
    "importance",
    "min_width",
    "epochs",
    "algorithm",
    "surrogate",
    "evaluations",
    "min_search_accuracy",
    "learning_rate",
    "holdout",
    "seed",
    "size_of",
    "baseline",
    "train_precision",
)
_PRECISIONS = click.Choice(["int8", "fp16", "fp32"])


def job_options(command: _Function) -> _Function:
    """Add MODEL and the options that every job has: data, target, budgets, search, run folder."""
    for decorate in (
        click.option("--cache", type=click.Path(path_type=Path), help="Folder that keeps decoded images."),
        click.option("--resume", is_flag=True, help="Go on with the run in that folder."),
        click.option("--run", type=click.Path(path_type=Path), help="Folder for the results. [runs/MODEL-TARGET]"),
        click.option("--recipe", type=click.Path(path_type=Path), help="TOML file of settings; options win over it."),
        click.option("--seed", type=int, help="Of everything random. [0]"),
        click.option("--reuse-parts", help="What of it, comma-separated. [losses,baseline,student]"),
        click.option(
            "--reuse",
            type=click.Path(path_type=Path),
            help="Take over what this run of the same model, data and recipe measured and trained.",
        ),
        click.option(
            "--holdout", type=click.Choice(["train", "test"]), help="Where validation images come from. [train]"
        ),
        click.option("--min-width", type=float, help="Least share of its width that a group keeps. [0]"),
        click.option("--tie", multiple=True, help="Groups that keep equal shares: A,B; may be repeated."),
        click.option(
            "--freeze", multiple=True, help="Group or layer that keeps its width, or pattern; may be repeated."
        ),
        importance_option,
        click.option("--time-budget", help="Time after which the search measures no more plans, for instance 20m."),
        click.option("--evaluations", type=int, help="Plans whose loss the search measures. [192]"),
        click.option(
            "--surrogate/--no-surrogate",
            default=None,
            help="Whether nsga2 and nsga3 search on predicted losses, or measure every plan. [--surrogate]",
        ),
        click.option(
            "--objectives", help="Comma-separated: loss, latency, energy, size, memory, macs, parameters. [the first 3]"
        ),
        click.option("--algorithm", help="nsga2, nsga3, random, uniform, or greedy. [nsga2]"),
        click.option(
            "--min-search-accuracy", type=float, help="What plans have to reach before any training, for instance 0.5."
        ),
        click.option("--size-of", type=_PRECISIONS, help="Which file --max-size is for. [int8]"),
        click.option(
            "--max-memory",
            help="Budget for the predicted peak of the activations for one example, for instance 2MB.",
        ),
        click.option("--max-energy", help="Budget for the predicted energy of an inference, for instance 10mJ."),
        click.option("--max-latency", help="Budget for the predicted latency, for instance 3ms."),
        click.option("--max-size", help="Budget for the ONNX file that --size-of names, for instance 250KB."),
        click.option(
            "--task",
            help="classification, multi-label, regression, segmentation, embedding, or another. [classification]",
        ),
        click.option("--target", "target_name", required=True, help="Device; `edgekd targets list` names them."),
        click.option(
            "--data", required=True, type=click.Path(path_type=Path), help="Image folder, zip of one, or .npz."
        ),
    ):
        command = decorate(command)
    return model_options(command)


def make_job(options: dict[str, Any]) -> Job:
    """Return the job that the options describe; those that a command does not have are at their defaults.

    Raises:
        InputError: An option cannot be used.
    """
    from edgekd.hardware.target import load_target
    from edgekd.job import REUSABLE, Job

    target = load_target(options["target_name"])
    recipe = _recipe(options)
    source = model_source(options)
    deployed, _ = target.artifacts[0]
    return Job(
        source=source,
        data=options["data"],
        target=target,
        # Size, for which the recipe says it, apart: what is predicted is of the file that the target deploys.
        budgets=read_budgets(options, dict.fromkeys(BOUNDED, deployed) | {"size_bytes": recipe.size_of}),
        recipe=recipe,
        run=options["run"] or Path("runs") / f"{source.path.stem}-{target.name}",
        with_tvm=_with_tvm(options.get("exports"), options["target_name"]),
        is_resumed=options["resume"],
        cache=options["cache"],
        reuse=options["reuse"],
        reuse_parts=REUSABLE if options["reuse_parts"] is None else tuple(options["reuse_parts"].split(",")),
        command=shlex.join(["edgekd", *sys.argv[1:]]),
    )


def _recipe(options: dict[str, Any]) -> Any:
    from edgekd.recipe import Recipe, read_recipe

    values = read_recipe(options["recipe"]) if options["recipe"] else {}
    for name in _SETTINGS:
        if options.get(name) is not None:
            values[name] = options[name]
    values |= {name: options[name] for name in ("freeze", "tie") if options[name]}
    if options.get("time_budget") is not None:
        values["search_seconds"] = parse_duration_s(options["time_budget"], "--time-budget")
    if options.get("objectives") is not None:
        values["objectives"] = tuple(name.strip() for name in options["objectives"].split(","))
    if options.get("augment") is not None:
        values["augmentations"] = tuple(n for n in options["augment"].split(",") if n and n != "none")
    from edgekd.data.augment import check_augmentations
    from edgekd.distill.objective import make_objective
    from edgekd.prune.importance import load_criterion
    from edgekd.tasks import load_task

    recipe = Recipe(**values)
    check_augmentations(recipe.augmentations)
    task = load_task(recipe.task, _place(options, "task"))
    load_criterion(recipe.importance, _place(options, "importance"))
    make_objective(
        recipe.distill,
        recipe.soft_weight,
        recipe.temperature,
        task,
        balance=recipe.balance,
        curriculum=recipe.curriculum,
    )
    return recipe


def _place(options: dict[str, Any], setting: str) -> str:
    return f"--{setting}" if options[setting] is not None else f"{options['recipe']}, {setting}"


def _with_tvm(exports: str | None, target_name: str) -> bool:
    from edgekd.errors import EdgeKDError
    from edgekd.export.tvm.compile import require_tvm
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
