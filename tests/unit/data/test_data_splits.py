"""Splits are disjoint, stratified and repeatable, and the test split is handed out once."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.data import Dataset, Images, load_dataset, make_splits
from edgekd.data.splits import stratified_order
from edgekd.errors import DataError

CIFAR10 = Path(__file__).parents[4] / "shared" / "data" / "cifar10"


def made(**counts):
    parts = {}
    for part, of_class in counts.items():
        y = torch.repeat_interleave(torch.arange(len(of_class)), torch.tensor(of_class))
        ids = tuple(f"{part}/{index}" for index in range(len(y)))
        parts[part] = Images(x=torch.zeros(len(y), 1, 1, 1, dtype=torch.uint8), y=y, ids=ids)
    classes = tuple(str(index) for index in range(len(counts["train"])))
    return Dataset(name="made", classes=classes, parts=parts, digest="0")


def all_four(splits):
    return {
        "train": splits.train,
        "search": splits.search,
        "validation": splits.validation,
        "test": splits.open_test(),
    }


def sizes(splits):
    return {record.name: record.samples for record in splits.records}


COUNTS = st.lists(st.integers(min_value=4, max_value=90), min_size=2, max_size=7)


@given(
    train=COUNTS,
    extra=st.sets(st.sampled_from(["validation", "test"])),
    holdout=st.sampled_from(["train", "test"]),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=150, deadline=None)
def test_no_sample_is_in_two_splits_and_each_split_has_every_class(train, extra, holdout, seed):
    if holdout == "test":
        extra = extra | {"test"}
    dataset = made(train=train, **dict.fromkeys(sorted(extra), train))
    splits = all_four(make_splits(dataset, seed=seed, holdout=holdout))
    ids = [name for images in splits.values() for name in images.ids]
    assert len(set(ids)) == len(ids)
    known = {name for images in dataset.parts.values() for name in images.ids}
    assert set(ids) <= known
    if holdout == "train":
        assert set(ids) == known
    for images in splits.values():
        assert set(images.y.tolist()) == set(range(len(train)))


@given(counts=COUNTS, seed=st.integers(0, 2**32), share=st.floats(0.0, 1.0))
@settings(max_examples=100, deadline=None)
def test_every_beginning_of_a_stratified_order_has_the_classes_in_proportion(counts, seed, share):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    order = stratified_order(labels, torch.Generator().manual_seed(seed))
    assert sorted(order.tolist()) == list(range(len(labels)))
    taken = max(len(counts), round(share * len(labels)))
    found = torch.bincount(labels[order[:taken]], minlength=len(counts))
    # Rounding moves each class by at most one; the sample that each class has in advance costs the others up
    # to one sample a class, in all at most as many as there are classes.
    for of_class, count in zip(found.tolist(), counts, strict=True):
        assert of_class >= 1
        assert abs(of_class - taken * count / len(labels)) <= len(counts)


def test_balanced_classes_stay_balanced():
    splits = make_splits(made(train=[100] * 4, test=[50] * 4), seed=1, search_samples=40, validation_samples=80)
    assert torch.bincount(splits.search.y).tolist() == [10] * 4
    assert torch.bincount(splits.validation.y).tolist() == [20] * 4
    assert torch.bincount(splits.train.y).tolist() == [70] * 4
    assert len(splits.open_test()) == 200


def test_the_default_holds_a_tenth_out_of_the_training_part():
    # 30,000 samples: a tenth is 3,000, which the search is too small for.
    splits = make_splits(made(train=[3000] * 10, test=[100] * 10), seed=0)
    assert sizes(splits) == {"train": 30_000 - 2048 - 3000, "search": 2048, "validation": 3000, "test": 1000}


def test_the_digits_of_scikit_learn_are_divided_sensibly():
    # 1,797 samples: 15 % is 270; of the other 1,527 a tenth, 153, goes to search and to validation.
    splits = make_splits(made(train=[178, 182, 177, 183, 181, 182, 181, 179, 174, 180]), seed=0)
    assert sizes(splits) == {"train": 1527 - 2 * 153, "search": 153, "validation": 153, "test": 270}


def test_few_samples_still_give_every_split_one_of_each_class():
    splits = make_splits(made(train=[4, 4]), seed=0)
    assert sizes(splits) == {"train": 2, "search": 2, "validation": 2, "test": 2}


def test_a_validation_part_is_the_validation_split():
    dataset = made(train=[50, 50], validation=[7, 9], test=[10, 10])
    splits = make_splits(dataset, seed=0)
    assert splits.validation.ids == dataset.parts["validation"].ids
    assert all(name.startswith("train/") for name in splits.search.ids)
    fewer = make_splits(dataset, seed=0, validation_samples=8)
    assert len(fewer.validation) == 8
    assert set(fewer.validation.ids) < set(splits.validation.ids)


class TestHoldingOutOfTest:
    def test_train_is_whole_and_search_and_validation_come_from_half_of_test(self):
        dataset = made(train=[50, 50], test=[40, 40])
        splits = all_four(make_splits(dataset, seed=0, holdout="test"))
        assert splits["train"].ids == dataset.parts["train"].ids
        assert {name: len(images) for name, images in splits.items()} == {
            "train": 100,
            "search": 20,
            "validation": 20,
            "test": 40,
        }
        assert all(name.startswith("test/") for name in splits["search"].ids + splits["validation"].ids)

    def test_the_test_half_does_not_depend_on_the_other_sizes(self):
        dataset = made(train=[50, 50], test=[40, 40])
        whole = make_splits(dataset, seed=3, holdout="test").open_test().ids
        small = make_splits(dataset, seed=3, holdout="test", search_samples=4, validation_samples=6)
        assert small.open_test().ids == whole
        assert (len(small.search), len(small.validation)) == (4, 6)

    def test_it_needs_a_test_part(self):
        with pytest.raises(DataError, match="made: expected a test part to hold samples out of, found none"):
            make_splits(made(train=[50, 50]), seed=0, holdout="test")


def test_the_seed_alone_decides():
    dataset = made(train=[50, 50])
    first, again, other = (make_splits(dataset, seed=seed) for seed in (5, 5, 6))
    assert first.records == again.records
    assert all(a.digest != b.digest for a, b in zip(first.records, other.records, strict=True))


def test_the_splits_say_what_they_are():
    splits = make_splits(made(train=[50, 50], test=[10, 10]), seed=5)
    assert splits.rule == (
        "search and validation from the training part, test is the test part; stratified by class, seed 5: "
        "train 80, search 10, validation 10, test 20"
    )
    expected = hashlib.sha256(json.dumps(sorted(splits.search.ids)).encode()).hexdigest()
    assert splits.records[1].name == "search"
    assert splits.records[1].digest == expected


def test_the_test_split_is_opened_once():
    splits = make_splits(made(train=[50, 50]), seed=0)
    splits.open_test()
    with pytest.raises(RuntimeError, match="opened once"):
        splits.open_test()


@pytest.mark.parametrize(
    ("train", "arguments", "split"),
    [
        ([3, 50], {}, "search"),
        ([1, 50], {}, "test"),
        ([50, 50], {"search_samples": 1}, "search"),
        ([50, 50], {"search_samples": 77}, "search"),
        ([50, 50], {"search_samples": 1000}, "search"),
        ([50, 50], {"validation_samples": -1}, "validation"),
    ],
    ids=[
        "three of a class",
        "one of a class",
        "fewer than classes",
        "none left",
        "more than there are",
        "negative",
    ],
)
def test_too_few_samples_for_a_split_are_refused(train, arguments, split):
    with pytest.raises(DataError) as caught:
        make_splits(made(train=train), seed=0, **arguments)
    assert caught.value.where == f"made, split '{split}'"
    assert "Add images" in caught.value.hint


def test_an_unknown_holdout_is_a_programming_error():
    with pytest.raises(ValueError, match="holdout is 'train' or 'test', not 'val'"):
        make_splits(made(train=[9, 9]), seed=0, holdout="val")


@pytest.mark.shared
@pytest.mark.slow
def test_cifar10_is_read_and_divided_as_documented():
    if not CIFAR10.is_dir():
        pytest.skip("the CIFAR-10 images are not beside the checkout")
    dataset = load_dataset(CIFAR10)
    assert dataset.size == (3, 32, 32)
    # fmt: off
    assert dataset.classes == (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    )
    # fmt: on
    assert {part: torch.bincount(images.y).tolist() for part, images in dataset.parts.items()} == {
        "train": [5000] * 10,
        "test": [1000] * 10,
    }
    splits = make_splits(dataset, seed=0, holdout="test")
    # Half of 10,000 is held out: 2,048 for the search, the other 2,952 for validation.
    assert sizes(splits) == {"train": 50_000, "search": 2048, "validation": 2952, "test": 5000}
    assert torch.bincount(splits.open_test().y).tolist() == [500] * 10
