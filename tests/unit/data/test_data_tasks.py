"""Data of every task and of several inputs: what is read, how it is split and augmented, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgekd.data import Images, Tensors, batches, load_dataset, make_splits
from edgekd.errors import DataError
from edgekd.records import TensorSpec
from edgekd.tasks import CLASSIFICATION, EMBEDDING, IGNORED, MULTI_LABEL, REGRESSION, SEGMENTATION, Task

TOKENS = (TensorSpec(name="ids", shape=(4,), dtype="int64"), TensorSpec(name="scale", shape=(2,)))
IDS = np.arange(40).reshape(10, 4)
SCALE = np.linspace(0, 1, 20, dtype=np.float32).reshape(10, 2)
PIXELS = np.arange(10 * 8 * 8, dtype=np.uint8).reshape(10, 8, 8)


def saved(folder: Path, **arrays: np.ndarray) -> Path:
    path = folder / "data.npz"
    np.savez(path, **arrays)
    return path


def test_several_inputs_come_in_the_network_s_order_as_they_are(tmp_path: Path) -> None:
    path = saved(tmp_path, **{"x.scale": SCALE.astype(np.float64), "x.ids": IDS.astype(np.int32), "y": SCALE})
    train = load_dataset(path, task=REGRESSION, inputs=TOKENS).parts["train"]
    assert isinstance(train, Tensors)
    assert [x.dtype for x in train.x] == [torch.int64, torch.float32]
    assert torch.equal(train.x[0], torch.from_numpy(IDS))
    assert torch.equal(train.x[1], torch.from_numpy(SCALE))
    (x, y, index), *_ = batches(train, 3, generator=torch.Generator().manual_seed(0), augmentations=("crop", "flip"))
    assert torch.equal(x[0], train.x[0][index])
    assert torch.equal(y, train.y[index])


def test_a_single_input_that_is_no_image_needs_no_name(tmp_path: Path) -> None:
    train = load_dataset(saved(tmp_path, x=IDS, y=SCALE), task=REGRESSION, inputs=TOKENS[:1]).parts["train"]
    assert isinstance(train, Tensors)
    assert torch.equal(train.x[0], torch.from_numpy(IDS))


def test_an_embedding_needs_no_targets_from_arrays_or_folders(tmp_path: Path) -> None:
    dataset = load_dataset(saved(tmp_path, x=PIXELS), task=EMBEDDING)
    assert (dataset.classes, dataset.parts["train"].y.shape) == ((), (10, 0))
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.new("L", (8, 8)).save(tmp_path / "images" / name / "one.png")
    dataset = load_dataset(tmp_path / "images", task=EMBEDDING)
    assert (dataset.classes, dataset.parts["train"].y.shape) == ((), (2, 0))


@pytest.mark.parametrize(
    ("task", "y"),
    [
        (MULTI_LABEL, np.eye(10, 3)),
        (REGRESSION, np.arange(10.0)),
        (SEGMENTATION, np.zeros((10, 8, 8), dtype=np.uint8)),
        (EMBEDDING, None),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_splits_without_classes_are_drawn_at_random_by_the_seed(tmp_path: Path, task: Task, y: np.ndarray) -> None:
    targets = {} if y is None else {"y": np.tile(y, (10,) + (1,) * (y.ndim - 1))}
    dataset = load_dataset(saved(tmp_path, x=np.tile(PIXELS, (10, 1, 1)), **targets), task=task)
    splits, again, other = (make_splits(dataset, seed=seed) for seed in (1, 1, 2))
    assert splits.rule.startswith("test (15%), search and validation from the training part; drawn at random, seed 1")
    assert splits.records == again.records != other.records
    assert sum(record.samples for record in splits.records) == 100


def test_the_digest_tells_other_targets_of_the_same_inputs_apart(tmp_path: Path) -> None:
    y = np.arange(20, dtype=np.float32).reshape(10, 2)
    digests = set()
    for name, targets in (("one", {"y": y}), ("reversed", {"y": y[::-1]}), ("none", {})):
        (tmp_path / name).mkdir()
        digests.add(load_dataset(saved(tmp_path / name, x=PIXELS, **targets), task=EMBEDDING).digest)
    assert len(digests) == 3


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), side=st.sampled_from([8, 16]))
def test_masks_move_with_their_images_and_what_comes_in_from_outside_is_ignored(seed: int, side: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    # Every pixel holds its class, 1 and up; 0 is what the crop fills images with.
    y = torch.randint(0, 250, (4, side, side), generator=generator)
    images = Images(x=(y + 1).to(torch.uint8)[:, None], y=y, ids=tuple("abcd"))
    (x, moved, _), *_ = batches(images, 4, generator=generator, augmentations=("crop", "flip"))
    expected = x[:, 0].long() - 1
    expected[expected < 0] = IGNORED
    assert moved.dtype == torch.int64
    assert torch.equal(moved, expected)


BAD = [
    (REGRESSION, {"x.ids": IDS, "y": SCALE}, "'x.ids', 'x.scale'", "data.npz"),
    (REGRESSION, {"x": IDS, "y": SCALE}, "2 inputs", "data.npz"),
    (REGRESSION, {"x.ids": IDS, "x.scale": SCALE, "x.more": SCALE, "y": SCALE}, "2 inputs", "data.npz"),
    (REGRESSION, {"x.ids": IDS, "x.scale": SCALE}, "'x' and 'y'", "data.npz"),
    (REGRESSION, {"x.ids": IDS, "x.scale": SCALE[:9], "y": SCALE}, "as many samples", "data.npz"),
    (REGRESSION, {"x.ids": IDS, "x.scale": SCALE, "y": SCALE[:9]}, "one label for each of the 10", "data.npz: y"),
    (REGRESSION, {"x.ids": IDS + 0.5, "x.scale": SCALE, "y": SCALE}, "int64 [samples, 4]", "data.npz: x.ids"),
    (REGRESSION, {"x.ids": IDS, "x.scale": SCALE * np.nan, "y": SCALE}, "finite float32", "data.npz: x.scale"),
    (REGRESSION, {"x.ids": IDS[:, :3], "x.scale": SCALE, "y": SCALE}, "int64 [10, 3]", "data.npz: x.ids"),
    (REGRESSION, {"x.ids": IDS, "x.scale": IDS[:, :2], "y": SCALE}, "as it is", "data.npz: x.scale"),
    (
        EMBEDDING,
        {"x_train.ids": IDS, "x_train.scale": SCALE, "y_train": SCALE, "x_test.ids": IDS, "x_test.scale": SCALE},
        "in every part, or in none",
        "data.npz",
    ),
]


@pytest.mark.parametrize(("task", "arrays", "told", "where"), BAD)
def test_inputs_that_do_not_fit_the_network_are_refused(
    tmp_path: Path, task: Task, arrays: dict[str, np.ndarray], told: str, where: str
) -> None:
    with pytest.raises(DataError) as caught:
        load_dataset(saved(tmp_path, **arrays), task=task, inputs=TOKENS)
    assert told in str(caught.value)
    assert caught.value.where.endswith(where)
    assert caught.value.hint


@pytest.mark.parametrize(("task", "inputs"), [(REGRESSION, ()), (CLASSIFICATION, TOKENS)], ids=["task", "inputs"])
def test_a_folder_is_refused_where_it_cannot_hold_what_is_needed(
    tmp_path: Path, task: Task, inputs: tuple[TensorSpec, ...]
) -> None:
    with pytest.raises(DataError, match=r"an \.npz file, with what the network takes as x"):
        load_dataset(tmp_path, task=task, inputs=inputs)
