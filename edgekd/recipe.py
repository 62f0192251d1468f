"""The settings of a run, with their defaults, and `recipe.toml` and back."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import textwrap
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from edgekd.errors import RecipeError, UnknownNameError
from edgekd.records.distillation import PLAIN, Term, read_terms, terms_in_line, terms_to_toml, weight_of

ALGORITHM_NAMES = ("nsga2", "nsga3", "random", "uniform", "greedy")
OBJECTIVE_NAMES = ("loss", "latency", "energy", "size", "memory", "macs", "parameters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network is compressed; what it is compressed to (target, budgets) is not part of it.

    Attributes:
        seed: Of everything random: splits, search, shuffling, augmentation.
        epochs: Passes over the training split, fake-quantized ones included; 0 is post-training compression.
        quantized_share: Share of the epochs trained with fake quantization, at least one epoch.
        learning_rate: Highest rate of the float epochs.
        quantized_learning_rate: Highest rate of the fake-quantized epochs; batch norm is folded by then, and rates
            far above this one diverge.
        batch_size: Examples a training step.
        weight_decay: Of weights with more than one dimension.
        temperature: Of the soft targets.
        soft_weight: Share of the distance from the teacher in the loss; the task's own loss has the rest.
        ema_decay: Of the moving average of weights that becomes the student.
        clip_norm: Largest norm of the gradient.
        train_precision: Arithmetic of the teacher and of the float epochs; `bf16` is about twice as fast on processors
            with instructions for it, and slower on others. Fake quantization is always trained in fp32.
        augmentations: In this order; `crop` and `flip`. Leave `flip` out where mirror images have another meaning.
        holdout: Where search and validation images come from: `train`, or `test` when the teacher has seen all of it.
        importance: What ranks the units of a group, by name; `edgekd.prune.importance` knows the names.
        freeze: Groups that keep their width: names or patterns (`*`, `?`, `[...]`) of groups, or of layers that make
            their channels.
        tie: Sets of groups that keep the same share of their widths: names or patterns with commas between.
        min_width: The least share of its width that a group keeps.
        search_samples: Images a candidate's loss is measured on.
        recalibration_samples: Training images that re-estimate a candidate's batch norm, calibrate ranges, and that
            importance looks at if it looks at data.
        algorithm: How the search chooses candidates: `nsga2`, `nsga3`, `random`, `uniform` or `greedy`.
        objectives: What the search minimizes, of `loss`, `latency`, `energy`, `size`, `memory`, `macs` and
            `parameters`; none stands for loss, and latency and energy where the target has tables for them.
        surrogate: Whether `nsga2` and `nsga3` search on predicted losses and measure only what they choose there.
        evaluations: Candidates whose loss is measured, at the most.
        population: Candidates a generation of the search.
        search_seconds: After which the search measures no more candidates; 0 is no limit.
        patience: Generations without growth of the hypervolume that end the search; 0 is never.
        min_search_accuracy: What a candidate's metric on the `search` samples has to reach before any training, where
            higher is better; 0 is nothing.
        baseline: Also train the uncompressed network as long, as the fine-tuned-only baseline.
        size_of: Which ONNX file a size budget is for.
        task: What loss and metric are, by name; `edgekd.tasks.load_task` knows the names.
        curriculum: Whether examples the teacher finds easy count first; half-way through the training all count.
        balance: Whether the gradients of all terms are brought to one size before their weights.
        distill: The terms of the loss; the task's own and soft targets by default.
    """

    seed: int = 0
    epochs: int = 10
    quantized_share: float = 0.3
    learning_rate: float = 0.05
    quantized_learning_rate: float = 5e-4
    batch_size: int = 128
    weight_decay: float = 1e-4
    temperature: float = 4.0
    soft_weight: float = 0.7
    ema_decay: float = 0.998
    clip_norm: float = 5.0
    train_precision: Literal["fp32", "bf16"] = "fp32"
    augmentations: tuple[str, ...] = ("crop", "flip")
    holdout: Literal["train", "test"] = "train"
    importance: str = "l2"
    freeze: tuple[str, ...] = ()
    tie: tuple[str, ...] = ()
    min_width: float = 0.0
    search_samples: int = 1024
    recalibration_samples: int = 512
    algorithm: str = "nsga2"
    objectives: tuple[str, ...] = ()
    surrogate: bool = True
    evaluations: int = 192
    population: int = 24
    search_seconds: float = 0.0
    patience: int = 0
    min_search_accuracy: float = 0.0
    baseline: bool = False
    size_of: Literal["fp32", "fp16", "int8"] = "int8"
    task: str = "classification"
    curriculum: bool = False
    balance: bool = False
    distill: tuple[Term, ...] = PLAIN

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHM_NAMES:
            raise UnknownNameError("recipe, algorithm", self.algorithm, ALGORITHM_NAMES)
        for objective in self.objectives:
            if objective not in OBJECTIVE_NAMES:
                raise UnknownNameError("recipe, objectives", objective, OBJECTIVE_NAMES)
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise RecipeError(
                    f"recipe, {name}",
                    expected=f"a value from {low} to {high}",
                    found=str(value),
                    hint="The defaults are in docs/recipe.md.",
                )
        weights = [weight_of(term, self.soft_weight) for term in self.distill]
        if sum(weights) <= 0:
            raise RecipeError(
                "recipe, distill",
                expected="terms whose weights sum to more than 0",
                found=f"weights {', '.join(f'{w:g}' for w in weights)}" if weights else "no term",
                hint="docs/distillation.md has examples.",
            )

    @property
    def quantized_epochs(self) -> int:
        """How many of the epochs are fake-quantized."""
        return min(self.epochs, max(1, round(self.epochs * self.quantized_share)))

    @property
    def float_epochs(self) -> int:
        """How many epochs come before fake quantization."""
        return self.epochs - self.quantized_epochs


_RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**31 - 1),
    "epochs": (0, 10_000),
    "quantized_share": (0.0, 1.0),
    "learning_rate": (0.0, 100.0),
    "quantized_learning_rate": (0.0, 100.0),
    "batch_size": (2, 65_536),
    "weight_decay": (0.0, 1.0),
    "temperature": (0.1, 1000.0),
    "soft_weight": (0.0, 1.0),
    "ema_decay": (0.0, 1.0),
    "clip_norm": (1e-6, 1e9),
    "min_width": (0.0, 1.0),
    "search_samples": (1, 10_000_000),
    "recalibration_samples": (2, 10_000_000),
    "evaluations": (1, 10_000_000),
    "population": (4, 100_000),
    "search_seconds": (0.0, 1e9),
    "patience": (0, 1_000_000),
    "min_search_accuracy": (0.0, 1.0),
}


def recipe_to_toml(recipe: Recipe) -> str:
    """Return the recipe as TOML, every setting written out."""
    values = toml_values(recipe)
    del values["distill"]
    return "".join(f"{name} = {value}\n" for name, value in values.items()) + terms_to_toml(recipe.distill)


def toml_values(recipe: Recipe) -> dict[str, str]:
    """Return every setting by its name, as TOML on one line."""
    values = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe)}
    terms = terms_in_line(values.pop("distill"))
    # JSON's numbers, strings, booleans and lists are TOML's too.
    return {name: json.dumps(value) for name, value in values.items()} | {"distill": terms}


def commented_toml(recipe: Recipe) -> str:
    """Return the recipe as TOML with what every setting means, as the class says it, and its range above it."""
    meanings = _meanings()
    blocks = []
    for name, value in toml_values(recipe).items():
        told = textwrap.wrap(f"{meanings[name]}{_choices(name)}", 100, initial_indent="# ", subsequent_indent="# ")
        blocks.append("\n".join([*told, f"{name} = {value}"]))
    return "\n\n".join(blocks) + "\n"


def _meanings() -> dict[str, str]:
    """Return what the docstring of the class says of each setting, on one line."""
    text = inspect.cleandoc(Recipe.__doc__ or "").partition("Attributes:\n")[2]
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", text, flags=re.MULTILINE)
    return {name: re.sub(r"\s+", " ", meaning) for name, meaning in entries}


def _choices(name: str) -> str:
    if name in _RANGES:
        low, high = _RANGES[name]
        return f" From {_written(low)} to {_written(high)}."
    kind = get_type_hints(Recipe)[name]
    return f" One of {', '.join(map(json.dumps, get_args(kind)))}." if get_origin(kind) is Literal else ""


def _written(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


def read_recipe(path: Path) -> dict[str, Any]:
    """Return the settings a recipe file gives; those it leaves out keep their defaults.

    Raises:
        RecipeError: It is missing or is no TOML, or a value has the wrong type.
        UnknownNameError: A setting is not known.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(
            str(path), expected="a TOML file", found=str(error), hint="The settings are in docs/recipe.md."
        ) from error
    types = get_type_hints(Recipe)
    for name, value in values.items():
        if name not in types:
            raise UnknownNameError(f"{path}, setting", name, types)
        values[name] = _converted(path, name, value, types[name])
    return values


def _converted(path: Path, name: str, value: Any, wanted: Any) -> Any:
    if name == "distill":
        return read_terms(f"{path}, distill", value)
    if wanted is float and type(value) is int:
        return float(value)
    is_names = wanted == tuple[str, ...]
    if is_names and isinstance(value, list) and all(isinstance(v, str) for v in value):
        return tuple(value)
    is_choice = get_origin(wanted) is Literal
    if value in get_args(wanted) if is_choice else type(value) is wanted:
        return value
    expected = " or ".join(map(repr, get_args(wanted))) if is_choice else wanted
    if is_names:
        expected = "a list of names"
    raise RecipeError(
        f"{path}, {name}",
        expected=getattr(expected, "__name__", str(expected)),
        found=repr(value),
        hint="The settings are in docs/recipe.md.",
    )
