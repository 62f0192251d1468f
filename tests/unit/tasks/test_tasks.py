"""Each task against torch's functional losses and against plain numpy, one loop at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.errors import DataError, EdgeKDError, ModelError
from edgekd.records import TensorSpec
from edgekd.tasks import (
    CLASSIFICATION,
    EMBEDDING,
    IGNORED,
    MULTI_LABEL,
    REGRESSION,
    SEGMENTATION,
    Targets,
    Task,
    load_task,
    make_metric,
)

TASKS = (CLASSIFICATION, MULTI_LABEL, REGRESSION, SEGMENTATION, EMBEDDING)
SEEDS = st.integers(0, 2**31)


def drawn(task: Task, batch: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Outputs, a teacher's outputs and targets of a task."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, 4, 3, 5) if task is SEGMENTATION else (batch, 4)
    ours, theirs = (2 * torch.randn(shape, generator=generator) for _ in range(2))
    targets = {
        "classification": torch.randint(0, 4, (batch,), generator=generator),
        "multi-label": torch.randint(0, 2, (batch, 4), generator=generator).float(),
        "segmentation": torch.randint(0, 4, (batch, 3, 5), generator=generator),
    }
    y = targets.get(task.name, torch.randn(shape, generator=generator))
    if task is SEGMENTATION:
        y[torch.rand(y.shape, generator=generator) < 0.3] = IGNORED
    return ours, theirs, y


def measured(task: Task, outputs: torch.Tensor, targets: torch.Tensor, size: int = 3) -> float:
    """The metric, taken in by batches of `size`."""
    meter = task.meter()
    for ours, y in zip(outputs.split(size), targets.split(size), strict=True):
        meter.update(ours, y)
    return meter.value()


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_losses_are_per_example_finite_and_smallest_at_equality_with_no_gradient_to_the_teacher(task: Task) -> None:
    ours, theirs, y = drawn(task, 6, 0)
    theirs.requires_grad_()
    for loss in (task.loss(ours, y), task.distillation(ours, theirs, 3.0)):
        assert loss.shape == (6,)
        assert bool((loss.isfinite() & (loss >= -1e-6)).all())
        assert not loss.requires_grad
    assert task.distillation(theirs.detach(), theirs, 3.0).abs().max() < 1e-5
    alone = torch.cat([task.loss(ours[i : i + 1], y[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(task.loss(ours, y), alone)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_network_agrees_with_itself_and_a_metric_does_not_depend_on_the_batches(task: Task) -> None:
    ours, theirs, y = drawn(task, 7, 1)
    torch.testing.assert_close(task.agreement(ours, ours), torch.ones(7, dtype=torch.float64))
    agreement = task.agreement(ours, theirs)
    assert agreement.shape == (7,)
    assert bool(((agreement >= 0) & (agreement <= 1)).all())
    assert float(agreement.mean()) < 1
    assert measured(task, ours, y, 1) == pytest.approx(measured(task, ours, y, 7))


def test_the_losses_are_those_of_torch() -> None:
    ours, theirs, y = drawn(CLASSIFICATION, 9, 2)
    assert torch.equal(CLASSIFICATION.loss(ours, y), F.cross_entropy(ours, y, reduction="none"))
    ours, _, y = drawn(MULTI_LABEL, 9, 2)
    torch.testing.assert_close(MULTI_LABEL.loss(ours, y).mean(), F.binary_cross_entropy_with_logits(ours, y))
    ours, _, y = drawn(REGRESSION, 9, 2)
    torch.testing.assert_close(REGRESSION.loss(ours, y).mean(), F.smooth_l1_loss(ours, y))
    torch.testing.assert_close(EMBEDDING.loss(ours, theirs), 1 - F.cosine_similarity(ours, theirs))
    ours, _, y = drawn(SEGMENTATION, 1, 2)
    torch.testing.assert_close(SEGMENTATION.loss(ours, y)[0], F.cross_entropy(ours, y, ignore_index=IGNORED))


def test_the_softened_labels_are_the_divergence_of_bernoulli_distributions() -> None:
    ours, theirs, _ = drawn(MULTI_LABEL, 5, 3)
    temperature = 2.5
    p, q = torch.sigmoid(theirs.double() / temperature), torch.sigmoid(ours.double() / temperature)
    by_hand = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean(1) * temperature**2
    torch.testing.assert_close(
        MULTI_LABEL.distillation(ours, theirs, temperature).double(), by_hand, rtol=1e-5, atol=1e-6
    )


def test_the_gradient_from_softened_labels_does_not_shrink_with_the_temperature() -> None:
    sizes = []
    for temperature in (20.0, 40.0):
        ours, theirs, _ = drawn(MULTI_LABEL, 5, 3)
        ours.requires_grad_()
        MULTI_LABEL.distillation(ours, theirs, temperature).sum().backward()
        sizes.append(float(ours.grad.norm()))
    assert sizes[0] == pytest.approx(sizes[1], rel=0.02)


def test_pixels_to_be_ignored_carry_no_loss_and_an_image_of_them_alone_none_at_all() -> None:
    ours, _, y = drawn(SEGMENTATION, 2, 4)
    ours.requires_grad_()
    y[1] = IGNORED
    loss = SEGMENTATION.loss(ours, y)
    assert float(loss[1].detach()) == 0
    loss.sum().backward()
    ignored = (y == IGNORED)[:, None].expand_as(ours)
    assert not bool(ours.grad[ignored].any())


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, batch=st.integers(1, 8))
def test_accuracy_is_the_share_counted_by_hand(seed: int, batch: int) -> None:
    ours, _, y = drawn(CLASSIFICATION, batch, seed)
    right = sum(
        max(range(4), key=lambda k: row[k]) == target for row, target in zip(ours.tolist(), y.tolist(), strict=True)
    )
    assert measured(CLASSIFICATION, ours, y) == right / batch


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, batch=st.integers(1, 8))
def test_f1_is_that_of_all_labels_counted_by_hand(seed: int, batch: int) -> None:
    ours, _, y = drawn(MULTI_LABEL, batch, seed)
    pairs = list(zip((ours > 0).flatten().tolist(), (y > 0.5).flatten().tolist(), strict=True))
    hits, given_wrongly, missed = (pairs.count(pair) for pair in ((True, True), (True, False), (False, True)))
    total = 2 * hits + given_wrongly + missed
    assert measured(MULTI_LABEL, ours, y) == pytest.approx(2 * hits / total if total else 1.0)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, batch=st.integers(1, 8), ignored=st.booleans())
def test_mean_iou_is_that_of_sets_of_pixels_over_the_classes_that_occur(seed: int, batch: int, ignored: bool) -> None:
    ours, _, y = drawn(SEGMENTATION, batch, seed)
    y = torch.full_like(y, IGNORED) if ignored else y
    given_class, true = ours.argmax(1).numpy(), y.numpy()
    shares = []
    for label in range(4):
        said = {tuple(place) for place in np.argwhere((given_class == label) & (true != IGNORED))}
        meant = {tuple(place) for place in np.argwhere(true == label)}
        if said | meant:
            shares.append(len(said & meant) / len(said | meant))
    assert measured(SEGMENTATION, ours, y) == pytest.approx(np.mean(shares) if shares else 1.0)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, batch=st.integers(2, 8))
def test_rmse_and_its_standard_error_are_those_of_numpy(seed: int, batch: int) -> None:
    ours, _, y = drawn(REGRESSION, batch, seed)
    squared = ((ours.double().numpy() - y.double().numpy()) ** 2).mean(1)
    meter = REGRESSION.meter()
    meter.update(ours, y)
    rmse = math.sqrt(squared.mean())
    assert meter.value() == pytest.approx(rmse)
    # sqrt has the slope 1 / (2 sqrt) at the mean.
    assert meter.standard_error() == pytest.approx(squared.std() / math.sqrt(batch) / (2 * rmse), abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, batch=st.integers(1, 8))
def test_the_cosine_is_that_of_numpy(seed: int, batch: int) -> None:
    ours, _, y = drawn(EMBEDDING, batch, seed)
    a, b = ours.double().numpy(), y.double().numpy()
    cosine = [x @ z / np.linalg.norm(x) / np.linalg.norm(z) for x, z in zip(a, b, strict=True)]
    assert measured(EMBEDDING, ours, y) == pytest.approx(np.mean(cosine))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_right_answers_measure_better_than_wrong_ones_in_the_direction_that_is_told(task: Task) -> None:
    _, _, y = drawn(task, 8, 5)
    right = y
    if task.source == "classes":
        right = F.one_hot(y, 4).float()
    elif task is MULTI_LABEL:
        right = 2 * y - 1
    elif task is SEGMENTATION:
        right = F.one_hot(y.clamp(max=3), 4).permute(0, 3, 1, 2).float()
    good, bad = measured(task, right, y), measured(task, -right, y)
    assert (good > bad) == task.metric.higher_is_better
    meter = task.meter()
    meter.update(right, y)
    metric = make_metric(task, meter, samples=8, split="test")
    assert (metric.name, metric.higher_is_better, metric.unit) == (
        task.metric.name,
        task.metric.higher_is_better,
        task.metric.unit,
    )


def test_the_standard_error_of_an_accuracy_is_the_binomial_one() -> None:
    ours, y = torch.eye(4).repeat(3, 1), torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 0, 0, 0, 0])
    meter = CLASSIFICATION.meter()
    meter.update(ours, y)
    share = 9 / 12
    assert meter.value() == share
    assert meter.standard_error() == pytest.approx(math.sqrt(share * (1 - share) / 12))


NAN = np.array([[0.0, math.nan]])
BAD_ARRAYS = [
    (MULTI_LABEL, np.array([0, 1]), "[samples, labels]"),
    (MULTI_LABEL, np.array([[0, 2]]), "0 and 1"),
    (MULTI_LABEL, NAN, "NaN"),
    (REGRESSION, NAN, "NaN"),
    (REGRESSION, np.zeros((2, 2, 2)), "[samples, values]"),
    (REGRESSION, np.array([["a"]]), "[samples, values]"),
    (REGRESSION, np.zeros((0, 2)), "[samples, values]"),
    (SEGMENTATION, np.zeros((2, 4, 4), dtype=np.float32), "integer masks"),
    (SEGMENTATION, np.zeros((2, 4), dtype=np.uint8), "integer masks"),
    (SEGMENTATION, np.full((2, 4, 4), 256), "to be ignored"),
    (SEGMENTATION, np.full((2, 4, 4), -1), "to be ignored"),
    (EMBEDDING, NAN, "NaN"),
    (EMBEDDING, np.zeros((2, 3), dtype=np.int64), "finite vectors"),
    (CLASSIFICATION, np.zeros((2, 3), dtype=np.int64), "integer labels"),
    (CLASSIFICATION, np.array([0.5, 1.0]), "integer labels"),
]


@pytest.mark.parametrize(("task", "y", "told"), BAD_ARRAYS)
def test_targets_of_another_kind_are_refused_with_place_and_remedy(task: Task, y: np.ndarray, told: str) -> None:
    with pytest.raises(DataError) as caught:
        task.read_targets("data.npz: y_train", y, None)
    assert caught.value.where == "data.npz: y_train"
    assert told in str(caught.value)
    assert caught.value.hint


BAD_FITS = [
    (CLASSIFICATION, (4, 8, 8), torch.zeros(2, dtype=torch.int64), ModelError, "net.pt2"),
    (MULTI_LABEL, (4, 8, 8), torch.zeros(2, 4), ModelError, "net.pt2"),
    (MULTI_LABEL, (4,), torch.zeros(2, 3), DataError, "data.npz, test"),
    (REGRESSION, (2, 2), torch.zeros(2, 2), ModelError, "net.pt2"),
    (REGRESSION, (2,), torch.zeros(2, 3), DataError, "data.npz, test"),
    (SEGMENTATION, (4,), torch.zeros(2, 8, 8, dtype=torch.int64), ModelError, "net.pt2"),
    (SEGMENTATION, (4, 8, 8), torch.zeros(2, 4, 4, dtype=torch.int64), DataError, "data.npz, test"),
    (SEGMENTATION, (4, 8, 8), torch.full((2, 8, 8), 4), DataError, "data.npz, test"),
    (EMBEDDING, (4, 4), torch.zeros(2, 4), ModelError, "net.pt2"),
    (EMBEDDING, (4,), torch.zeros(2, 3), DataError, "data.npz, test"),
]


@pytest.mark.parametrize(("task", "shape", "y", "kind", "where"), BAD_FITS)
def test_a_network_that_answers_something_else_is_refused(
    task: Task, shape: tuple[int, ...], y: torch.Tensor, kind: type[EdgeKDError], where: str
) -> None:
    output = TensorSpec(name="output", shape=shape)
    with pytest.raises(kind) as caught:
        task.check("net.pt2", output, Targets(where="data.npz", classes=("a", "b"), parts={"test": y}))
    assert caught.value.where == where


def test_masks_of_ignored_pixels_alone_fit_every_network() -> None:
    y = torch.full((2, 8, 8), IGNORED)
    targets = Targets(where="data.npz", classes=(), parts={"test": y})
    SEGMENTATION.check("net.pt2", TensorSpec(name="logits", shape=(2, 8, 8)), targets)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_included_task_is_found_by_its_name(task: Task) -> None:
    assert load_task(task.name) is task
