"""Options that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgekd.errors import InputError

if TYPE_CHECKING:
    from edgekd.inputs import ModelSource

_Function = TypeVar("_Function", bound=Callable[..., Any])


def model_options(command: _Function) -> _Function:
    """Add MODEL and the options that say how to open it and what its input means."""
    for decorate in (
        click.option("--trust-pickle", is_flag=True, help="Open a pickled module, which runs code it carries."),
        click.option("--std", help="Per-channel deviation of inputs in [0, 1]. [the model's card, else the data]"),
        click.option("--mean", help="Per-channel mean of inputs in [0, 1], for instance 0.485,0.456,0.406."),
        click.option("--input-size", help="channels,height,width, for instance 3,32,32."),
        click.option("--arch", help="package.module:factory that builds the network of a weights file."),
        click.argument("model", type=click.Path(path_type=Path)),
    ):
        command = decorate(command)
    return command


def compute_options(command: _Function) -> _Function:
    """Add the options about what is printed."""
    for decorate in (
        click.option("-q", "--quiet", is_flag=True, help="Show no progress."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document."),
    ):
        command = decorate(command)
    return command


def model_source(options: dict[str, Any]) -> ModelSource:
    """Return how to open the model, from the options that `model_options` adds.

    Raises:
        InputError: One of them is no list of numbers.
    """
    from edgekd.inputs import ModelSource

    shape = _numbers("--input-size", options["input_size"])
    if shape is not None and (len(shape) != 3 or not all(n >= 1 and n.is_integer() for n in shape)):
        raise InputError(
            "--input-size",
            expected="channels,height,width",
            found=f"'{options['input_size']}'",
            hint="For instance --input-size 3,32,32.",
        )
    return ModelSource(
        path=options["model"],
        arch=options["arch"],
        input_shape=(int(shape[0]), int(shape[1]), int(shape[2])) if shape else None,
        trust_pickle=options["trust_pickle"],
        mean=_numbers("--mean", options["mean"]),
        std=_numbers("--std", options["std"]),
    )


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
