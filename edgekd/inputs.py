"""What a run works on: the network as it came, its task, the data in their splits, and how pixels become inputs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, fx, nn

from edgekd.data import (
    Dataset,
    Images,
    Normalization,
    Splits,
    Tensors,
    estimate_normalization,
    load_dataset,
    make_splits,
    takes_image,
)
from edgekd.errors import DataError, ModelError, RecipeError
from edgekd.models.evaluate import predict
from edgekd.models.load import LoadedModel, load_model
from edgekd.recipe import Recipe
from edgekd.records import TensorSpec
from edgekd.tasks import Targets, Task, load_task


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """How to open the user's model file: see `edgekd.models.load.load_model`."""

    path: Path
    arch: str | None = None
    inputs: tuple[TensorSpec, ...] = ()
    trust_pickle: bool = False
    checkpoint_key: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """A loaded network with data that fit it. Inputs that are no images have no normalization."""

    model: LoadedModel
    dataset: Dataset
    splits: Splits
    normalization: Normalization | None
    task: Task

    @property
    def artifact_inputs(self) -> tuple[TensorSpec, ...]:
        """What artifacts take: the network's inputs, of which a single image is called `input`."""
        if self.normalization is None:
            return self.model.inputs
        return (dataclasses.replace(self.model.inputs[0], name="input"),)


def load_source(source: ModelSource) -> LoadedModel:
    """Return the user's network.

    Raises:
        ModelError: It cannot be used.
    """
    return load_model(
        source.path,
        arch=source.arch,
        inputs=source.inputs,
        trust_pickle=source.trust_pickle,
        checkpoint_key=source.checkpoint_key,
    )


def load_inputs(source: ModelSource, data: Path, recipe: Recipe, cache: Path | None) -> Inputs:
    """Return the network and the data, checked against each other and the task.

    Raises:
        ModelError: The network cannot be used, or not for this task.
        DataError: The data cannot be used, or do not fit the network.
        RecipeError: A setting does not fit the task.
        UnknownNameError: The task is not known.
    """
    task = load_task(recipe.task)
    if recipe.baseline and task.source == "teacher":
        raise RecipeError(
            "recipe, baseline",
            expected=f"none, since the targets of the task '{task.name}' are what the original network answers",
            found="one",
            hint="Leave --baseline out.",
        )
    model = load_source(source)
    _require_one_output(source, model)
    image_shape = model.image_shape if takes_image(model.inputs) else None
    dataset = load_dataset(data, input_size=image_shape, cache_dir=cache, task=task, inputs=model.inputs)
    splits = _splits(dataset, recipe)
    normalization = _normalization(source, model, splits)
    _check_indices(data, model, dataset)
    if task.source == "teacher" and dataset.parts["train"].y.shape[1:] == (0,):
        dataset = _answered(dataset, model.network, normalization)
        splits = _splits(dataset, recipe)
    targets = {part: samples.y for part, samples in dataset.parts.items()}
    task.check(str(source.path), model.outputs[0], Targets(where=str(data), classes=dataset.classes, parts=targets))
    _check_class_names(data, model, dataset)
    return Inputs(model=model, dataset=dataset, splits=splits, normalization=normalization, task=task)


def resolve_normalization(source: ModelSource, model: LoadedModel, splits: Splits | None) -> Normalization:
    """Return how pixels become inputs: from the options, else the model's card, else estimated on `train`.

    Raises:
        ModelError: Mean or std have another number of channels than the network, or there is nothing to go by.
    """
    mean, std = source.mean or model.card.mean, source.std or model.card.std
    if mean is None or std is None:
        if splits is None:
            raise ModelError(
                str(source.path),
                expected="mean and std of the input",
                found="no card beside it",
                hint="Give them with --mean and --std.",
            )
        if not isinstance(splits.train, Images):
            raise TypeError("only images have a normalization")  # a programmer's mistake
        return estimate_normalization(splits.train)
    if not len(mean) == len(std) == model.image_shape[0] or min(std) <= 0:
        raise ModelError(
            str(source.path),
            expected=f"mean and positive std for {model.image_shape[0]} channels",
            found=f"mean {mean} and std {std}",
            hint="Correct --mean and --std, or the card beside the model.",
        )
    return Normalization(mean=mean, std=std)


def _splits(dataset: Dataset, recipe: Recipe) -> Splits:
    return make_splits(
        dataset, seed=recipe.seed, holdout=recipe.holdout, search_samples=_search_samples(dataset, recipe)
    )


def _search_samples(dataset: Dataset, recipe: Recipe) -> int:
    """The recipe's number, but at most a tenth of the part it comes from: small data needs its samples elsewhere."""
    part = "test" if recipe.holdout == "test" and "test" in dataset.parts else "train"
    return max(1, len(dataset.classes), min(recipe.search_samples, len(dataset.parts[part]) // 10))


def _normalization(source: ModelSource, model: LoadedModel, splits: Splits) -> Normalization | None:
    if isinstance(splits.train, Images):
        return resolve_normalization(source, model, splits)
    if source.mean or source.std:
        raise ModelError(
            str(source.path),
            expected="no --mean and --std, since its inputs are passed as the data hold them",
            found=f"mean {source.mean} and std {source.std}",
            hint="Leave them out, and normalize the arrays before they are saved.",
        )
    return None


def _answered(dataset: Dataset, network: fx.GraphModule, normalization: Normalization | None) -> Dataset:
    """Return the data with what the network answers as targets."""
    parts = {
        part: samples.with_targets(predict(network, samples, normalization)) for part, samples in dataset.parts.items()
    }
    return dataclasses.replace(dataset, parts=parts)


def _require_one_output(source: ModelSource, model: LoadedModel) -> None:
    if len(model.outputs) != 1:
        raise ModelError(
            str(source.path),
            expected="one output",
            found=f"{len(model.outputs)}: {', '.join(spec.name for spec in model.outputs)}",
            hint="Export the network with the one output that is to be kept.",
        )


def _check_class_names(data: Path, model: LoadedModel, dataset: Dataset) -> None:
    known = model.card.classes
    if known is not None and dataset.classes and set(known) != set(dataset.classes):
        odd = sorted(set(dataset.classes) - set(known))
        raise DataError(
            str(data),
            expected=f"the classes of the model's card: {', '.join(known[:12])}",
            found=f"others: {', '.join(odd[:12])}",
            hint="Give the data this network was trained on, or correct the card beside the model.",
        )


def _check_indices(data: Path, model: LoadedModel, dataset: Dataset) -> None:
    """Make sure that what looks entries up in a table (token ids) finds them."""
    places = [node.name for node in model.network.graph.nodes if node.op == "placeholder"]
    for node in model.network.graph.nodes:
        table = model.network.get_submodule(str(node.target)) if node.op == "call_module" else None
        given = node.all_input_nodes[0].name if node.all_input_nodes else ""
        if not isinstance(table, nn.Embedding) or given not in places:
            continue
        for part, samples in dataset.parts.items():
            if isinstance(samples, Tensors):
                _check_range(f"{data}, {part}, input '{given}'", samples.x[places.index(given)], table)


def _check_range(where: str, x: Tensor, table: nn.Embedding) -> None:
    low, high = int(x.min()), int(x.max())
    if low < 0 or high >= table.num_embeddings:
        raise DataError(
            where,
            expected=f"indices from 0 to {table.num_embeddings - 1}, as the network's table has entries",
            found=f"{low} to {high}",
            hint="Use the tokenizer the network was trained with.",
        )
