"""Options that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgekd.budgets import BOUNDED
from edgekd.errors import InputError
from edgekd.records import Budget, Finding, Precision, Quantity, TensorSpec
from edgekd.report.escape import printable

if TYPE_CHECKING:
    from edgekd.inputs import Inputs, ModelSource
    from edgekd.models.load import LoadedModel

_DTYPES = ("float32", "int64", "int32", "bool")
_Function = TypeVar("_Function", bound=Callable[..., Any])


def model_options(command: _Function) -> _Function:
    """Add MODEL and the options that say how to open it and what its input means."""
    for decorate in (
        click.option("--trust-pickle", is_flag=True, help="Open a pickled module, which runs code it carries."),
        click.option("--std", help="Per-channel deviation of inputs in [0, 1]. [the model's card, else the data]"),
        click.option("--mean", help="Per-channel mean of inputs in [0, 1], for instance 0.485,0.456,0.406."),
        click.option(
            "--checkpoint-key", help="Entry of a checkpoint that holds the weights. [averaged ones, else usual names]"
        ),
        click.option(
            "--input-size",
            multiple=True,
            help="channels,height,width, for instance 3,32,32; once for each input, of another type as 128:int64.",
        ),
        click.option("--arch", help="package.module:factory that builds the network of a weights file."),
        click.argument("model", type=click.Path(path_type=Path)),
    ):
        command = decorate(command)
    return command


def importance_option(command: _Function) -> _Function:
    """Add the criterion that ranks channels."""
    add = click.option("--importance", help="What ranks channels: l1, l2, lamp, bn-scale, fpgm, taylor, ... [l2]")
    return add(command)


def compute_options(command: _Function) -> _Function:
    """Add the options about what is printed."""
    for decorate in (
        click.option("-q", "--quiet", is_flag=True, help="Show no progress."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document."),
    ):
        command = decorate(command)
    return command


def data_options(purpose: str) -> Callable[[_Function], _Function]:
    """Add the data a command can use, and what it is for; `purpose` says what the command does with it."""

    def add(command: _Function) -> _Function:
        task = click.option("--task", help="What the network is for, as in `compress`. [classification]")
        data = click.option(
            "--data", type=click.Path(path_type=Path), help=f"Image folder, zip of one, or .npz. {purpose}"
        )
        return data(task(command))

    return add


def read_budgets(
    options: Mapping[str, str | None], precisions: Mapping[Quantity, Precision] = MappingProxyType({})
) -> tuple[Budget, ...]:
    """Return the budgets of `--max-size` and its like, each for the files of the precision given, or for all.

    Raises:
        InputError: One of them is no quantity with its unit.
    """
    return tuple(
        Budget(quantity=quantity, limit=kind.parse(text, kind.option), precision=precisions.get(quantity))
        for quantity, kind in BOUNDED.items()
        if (text := options[kind.parameter]) is not None
    )


def load_with_data(options: dict[str, Any]) -> tuple[LoadedModel, Inputs | None]:
    """Return the model of the options, and with `--data` what it works on.

    Raises:
        ModelError: The model cannot be used.
        DataError: The data cannot be used, or does not fit the model.
    """
    from edgekd.inputs import load_inputs, load_source
    from edgekd.recipe import Recipe

    source = model_source(options)
    if options["data"] is None:
        return load_source(source), None
    inputs = load_inputs(source, options["data"], Recipe(task=options["task"] or "classification"), None)
    return inputs.model, inputs


def model_source(options: dict[str, Any]) -> ModelSource:
    """Return how to open the model, from the options that `model_options` adds.

    Raises:
        InputError: One of them is no list of numbers.
    """
    from edgekd.inputs import ModelSource

    return ModelSource(
        path=options["model"],
        arch=options["arch"],
        inputs=tuple(_input_spec(text, index) for index, text in enumerate(options["input_size"])),
        trust_pickle=options["trust_pickle"],
        checkpoint_key=options["checkpoint_key"],
        mean=_numbers("--mean", options["mean"]),
        std=_numbers("--std", options["std"]),
    )


def parse_cores(text: str) -> tuple[int, ...]:
    """Return the cores that `--pin` names."""
    cores: list[int] = []
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            cores += range(int(first), int(last or first) + 1)
    except ValueError:
        cores = []
    if not cores:
        raise InputError("--pin", expected="cores, as 0-3 or 4,5", found=f"'{text}'", hint="Correct the option.")
    return tuple(cores)


def _input_spec(text: str, index: int) -> TensorSpec:
    numbers, _, dtype = text.partition(":")
    sizes = numbers.split(",")
    if not all(size.strip().isdecimal() and int(size) >= 1 for size in sizes) or dtype not in ("", *_DTYPES):
        raise InputError(
            "--input-size",
            expected=f"sizes without the batch, and for a type other than float32 one of {', '.join(_DTYPES)}",
            found=f"'{text}'",
            hint="For instance --input-size 3,32,32 or --input-size 128:int64.",
        )
    name = "input" if index == 0 else f"input_{index}"
    return TensorSpec(name=name, shape=tuple(int(size) for size in sizes), dtype=dtype or "float32")


def show_remarks(remarks: Iterable[Finding]) -> None:
    """Write on stderr what was recognised, chosen or converted when the model was opened."""
    for remark in remarks:
        hint = f" {remark.hint}" if remark.hint else ""
        click.echo(f"{remark.level}: {printable(f'{remark.subject}: {remark.message}.{hint}')}", err=True)


def _numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = (math.nan,)
    if not all(map(math.isfinite, numbers)):
        raise InputError(
            option,
            expected="numbers with commas between",
            found=f"'{text}'",
            hint="For instance 0.5,0.5,0.5.",
        )
    return numbers
