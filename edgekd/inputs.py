"""What a run works on: the network as it came, the data in its splits, and how pixels become inputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekd.data import Dataset, Normalization, Splits, estimate_normalization, load_dataset, make_splits
from edgekd.errors import DataError, ModelError
from edgekd.models.load import LoadedModel, load_model
from edgekd.recipe import Recipe
from edgekd.records import TensorSpec


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
    """A loaded network with data that fits it."""

    model: LoadedModel
    dataset: Dataset
    splits: Splits
    normalization: Normalization


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
    """Return the network and the data, checked against each other.

    Raises:
        ModelError: The network cannot be used.
        DataError: The data cannot be used, or does not fit the network.
    """
    model = load_source(source)
    dataset = load_dataset(data, input_size=model.image_shape, cache_dir=cache)
    if len(dataset.classes) != model.classes:
        raise DataError(
            str(data),
            expected=f"{model.classes} classes, as many as {source.path} has outputs",
            found=f"{len(dataset.classes)}: {', '.join(dataset.classes[:12])}",
            hint="Give the data this network was trained on, one folder for each class.",
        )
    if model.card.classes is not None and set(model.card.classes) != set(dataset.classes):
        odd = sorted(set(dataset.classes) - set(model.card.classes))
        raise DataError(
            str(data),
            expected=f"the classes of the model's card: {', '.join(model.card.classes[:12])}",
            found=f"others: {', '.join(odd[:12])}",
            hint="Give the data this network was trained on, or correct the card beside the model.",
        )
    splits = make_splits(
        dataset,
        seed=recipe.seed,
        holdout=recipe.holdout,
        search_samples=_search_samples(dataset, recipe),
    )
    return Inputs(
        model=model,
        dataset=dataset,
        splits=splits,
        normalization=resolve_normalization(source, model, splits),
    )


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
        return estimate_normalization(splits.train)
    if not len(mean) == len(std) == model.image_shape[0] or min(std) <= 0:
        raise ModelError(
            str(source.path),
            expected=f"mean and positive std for {model.image_shape[0]} channels",
            found=f"mean {mean} and std {std}",
            hint="Correct --mean and --std, or the card beside the model.",
        )
    return Normalization(mean=mean, std=std)


def _search_samples(dataset: Dataset, recipe: Recipe) -> int:
    """The recipe's number, but at most a tenth of the part it comes from: small data needs its images elsewhere."""
    part = "test" if recipe.holdout == "test" and "test" in dataset.parts else "train"
    return max(len(dataset.classes), min(recipe.search_samples, len(dataset.parts[part]) // 10))
