"""Dividing a data set, so that no number is measured on the samples it was chosen on.

The search sees `search`, early stopping sees `validation`, and `test` is opened once, at the end.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from edgekd.data.images import Dataset, Samples
from edgekd.errors import DataError

Holdout = Literal["train", "test"]

TEST_RATIO = 0.15
HELD_OUT_RATIO = 0.1
MAX_SEARCH_SAMPLES = 2048
MAX_VALIDATION_SAMPLES = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRecord:
    """What a report says of one split; `digest` is the SHA-256 of its sample ids, whatever their order."""

    name: str
    samples: int
    digest: str


class SealedImages:
    """The test split, handed out once.

    This guards against a mistake, not against intent: it makes the second place that measures on test samples
    fail, so that nothing can be chosen by their result unnoticed. Whoever opens it evaluates everything the
    report shows in one go. The seal is not kept on disk, so a resumed run may open it again, and it does not
    hide the test part of the `Dataset` the splits were made from.
    """

    def __init__(self, images: Samples) -> None:
        self._images = images
        self._is_open = False

    def open(self) -> Samples:
        """Return the images.

        Raises:
            RuntimeError: They were handed out before.
        """
        if self._is_open:
            raise RuntimeError("the test split is opened once in a run, and it has been")
        self._is_open = True
        return self._images


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Splits:
    """Four disjoint sets of samples, and the rule they were made by, in words a report can print."""

    train: Samples
    search: Samples
    validation: Samples
    sealed_test: SealedImages
    seed: int
    rule: str
    records: tuple[SplitRecord, ...]

    def open_test(self) -> Samples:
        """Return the test split; `RuntimeError` at the second call (see `SealedImages`)."""
        return self.sealed_test.open()


def make_splits(
    dataset: Dataset,
    *,
    seed: int,
    holdout: Holdout = "train",
    search_samples: int | None = None,
    validation_samples: int | None = None,
) -> Splits:
    """Return seeded splits, stratified where there are classes; equal arguments give equal splits.

    Every split gets each class in proportion, and at least once; without classes, samples are drawn at random. A
    data set without a test part has 15 % of its samples cut off as one. If it has a validation part, that is the
    validation split.

    Args:
        dataset: What to divide.
        seed: Decides which samples go where.
        holdout: Where search and validation samples come from. `train` is right for a teacher that has not
            seen all of the training part; `test`, for one that has, divides half of the test part among them.
            The seed alone decides which half, whatever the two sizes; the other half is the test split.
        search_samples: Size of the search split; by default a tenth of the training part, at most 2,048; for
            `test` at most half of what is held out.
        validation_samples: Size of the validation split; by default a tenth of the training part, at most
            5,000; for `test` all that the search leaves, at most 5,000; and all of a validation part.

    Raises:
        DataError: There are too few samples for a split.
    """
    generator = torch.Generator().manual_seed(seed)
    own_validation = dataset.parts.get("validation")
    if holdout == "train":
        sets = _hold_out_of_train(dataset, search_samples, validation_samples, generator)
    elif holdout == "test":
        sets = _hold_out_of_test(dataset, search_samples, validation_samples, generator)
    else:
        raise ValueError(f"holdout is 'train' or 'test', not {holdout!r}")
    if own_validation is not None:
        sets["validation"] = own_validation
        if validation_samples is not None:
            pool = _pool(dataset, own_validation)
            sets["validation"], _ = pool.take_last("validation", validation_samples, generator)
    records = tuple(
        SplitRecord(name=name, samples=len(sets[name]), digest=ids_digest(sets[name].ids))
        for name in ("train", "search", "validation", "test")
    )
    return Splits(
        train=sets["train"],
        search=sets["search"],
        validation=sets["validation"],
        sealed_test=SealedImages(sets["test"]),
        seed=seed,
        rule=_rule(dataset, holdout, seed, records),
        records=records,
    )


def ids_digest(ids: tuple[str, ...]) -> str:
    """Return the SHA-256 of the sorted sample ids as JSON."""
    return hashlib.sha256(json.dumps(sorted(ids)).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Pool:
    """The samples of a part that no split has taken yet; `left` are their positions in `images`.

    `strata` are class indices, or one and the same for every sample where there are no classes.
    """

    name: str
    images: Samples
    strata: Tensor
    left: Tensor

    def take(self, split: str, samples: int, generator: torch.Generator) -> tuple[Samples, _Pool]:
        """Return a split, and a pool of the rest, which has every class still."""
        taken, rest = self.take_last(split, samples, generator)
        labels = self.strata[self.left]
        counts = torch.bincount(labels)
        remaining = torch.bincount(self.strata[rest.left], minlength=len(counts))
        if bool(((counts > 0) & (remaining == 0)).any()):
            wanted = f"more than {samples:,} samples, with one of each class left over"
            rarest = int(counts[counts > 0].min())
            raise _too_few(self.name, split, wanted, f"{len(labels):,}, {rarest:,} of them in the rarest class")
        return taken, rest

    def take_last(self, split: str, samples: int, generator: torch.Generator) -> tuple[Samples, _Pool]:
        """Return a split, and a pool of the rest, which may be empty."""
        labels = self.strata[self.left]
        classes = len(set(labels.tolist()))
        if not classes <= samples <= len(labels):
            wanted = f"{classes:,} samples (one of each class) to {len(labels):,} (all there are)"
            raise _too_few(self.name, split, wanted, f"{samples:,}")
        order = stratified_order(labels, generator)
        rest = _Pool(
            name=self.name, images=self.images, strata=self.strata, left=self.left[order[samples:]].sort().values
        )
        return self.images.select(self.left[order[:samples]].sort().values), rest

    def all_left(self) -> Samples:
        """Return what nobody took."""
        is_whole = len(self.left) == len(self.images)
        return self.images if is_whole else self.images.select(self.left)


def _pool(dataset: Dataset, images: Samples) -> _Pool:
    strata = images.y if dataset.classes else torch.zeros(len(images), dtype=torch.int64)
    return _Pool(name=dataset.name, images=images, strata=strata, left=torch.arange(len(images)))


def stratified_order(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Return a random order of the samples in which every beginning has each class in proportion.

    Each class is shuffled and spread evenly over the order: sample `rank` of a class with `count` samples
    stands at (rank + 1/2) / count. The first of each class come before all others, so that a beginning with
    as many samples as there are classes has them all.
    """
    shuffled = torch.randperm(len(labels), generator=generator)
    place = torch.empty(len(labels), dtype=torch.float64)
    for label in sorted(set(labels.tolist())):
        of_class = (labels[shuffled] == label).nonzero().flatten()
        place[of_class] = (torch.arange(len(of_class), dtype=torch.float64) + 0.5) / len(of_class)
        place[of_class[0]] = -1.0
    return shuffled[place.argsort(stable=True)]


def _hold_out_of_train(
    dataset: Dataset, search_samples: int | None, validation_samples: int | None, generator: torch.Generator
) -> dict[str, Samples]:
    pool = _pool(dataset, dataset.parts["train"])
    classes = max(1, len(dataset.classes))
    sets = {}
    if "test" in dataset.parts:
        sets["test"] = dataset.parts["test"]
    else:
        samples = max(round(TEST_RATIO * len(pool.left)), classes)
        sets["test"], pool = pool.take("test", samples, generator)
    tenth = max(round(HELD_OUT_RATIO * len(pool.left)), classes)
    if "validation" not in dataset.parts:
        samples = _or(validation_samples, min(tenth, MAX_VALIDATION_SAMPLES))
        sets["validation"], pool = pool.take("validation", samples, generator)
    samples = _or(search_samples, min(tenth, MAX_SEARCH_SAMPLES))
    sets["search"], pool = pool.take("search", samples, generator)
    sets["train"] = pool.all_left()
    return sets


def _hold_out_of_test(
    dataset: Dataset, search_samples: int | None, validation_samples: int | None, generator: torch.Generator
) -> dict[str, Samples]:
    if "test" not in dataset.parts:
        raise DataError(
            dataset.name,
            expected="a test part to hold samples out of",
            found="none",
            hint="Add one that the teacher has not seen, or hold out of the training part.",
        )
    whole = _pool(dataset, dataset.parts["test"])
    held_out, whole = whole.take("search and validation", len(whole.left) // 2, generator)
    sets = {"train": dataset.parts["train"], "test": whole.all_left()}
    pool = _pool(dataset, held_out)
    samples = _or(search_samples, min(len(held_out) // 2, MAX_SEARCH_SAMPLES))
    if "validation" in dataset.parts:
        sets["search"], _ = pool.take_last("search", samples, generator)
        return sets
    sets["search"], pool = pool.take("search", samples, generator)
    samples = _or(validation_samples, min(len(pool.left), MAX_VALIDATION_SAMPLES))
    sets["validation"], _ = pool.take_last("validation", samples, generator)
    return sets


def _or(given: int | None, default: int) -> int:
    return default if given is None else given


def _rule(dataset: Dataset, holdout: Holdout, seed: int, records: tuple[SplitRecord, ...]) -> str:
    held_out = "search" if "validation" in dataset.parts else "search and validation"
    if holdout == "test":
        source = f"{held_out} from one half of the test part, test is the other half"
    elif "test" in dataset.parts:
        source = f"{held_out} from the training part, test is the test part"
    else:
        source = f"test ({TEST_RATIO:.0%}), {held_out} from the training part"
    if "validation" in dataset.parts:
        source += ", validation from the validation part"
    sizes = ", ".join(f"{record.name} {record.samples:,}" for record in records)
    how = "stratified by class" if dataset.classes else "drawn at random"
    return f"{source}; {how}, seed {seed}: {sizes}"


def _too_few(name: str, split: str, expected: str, found: str) -> DataError:
    return DataError(
        f"{name}, split '{split}'",
        expected=expected,
        found=found,
        hint="Add images, or change the sizes of the search and validation splits.",
    )
