"""Losses against torchdistill's implementations, and against formulas written out in numpy where it has none."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

from edgekd.distill.losses import LOSSES, Loss, Seen, Side

STUDENT = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TEACHER = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
TARGETS = torch.tensor([0, 1, 2, 0, 1, 2])


def make(name: str, **options: Any) -> Loss:
    loss = LOSSES.load(name, "test")(**options)
    loss.build((STUDENT,), (TEACHER,))
    return loss.double().eval()


def features(name: str, student: torch.Tensor = STUDENT, teacher: torch.Tensor = TEACHER, **options: Any) -> Any:
    sides = [Side(outputs=x.flatten(1), features=(x,)) for x in (student, teacher)]
    return make(name, **options)(Seen(student=sides[0], teacher=sides[1], targets=TARGETS)).detach()


def outputs(name: str, student: torch.Tensor, teacher: torch.Tensor, temperature: float, **options: Any) -> Any:
    given = Seen(student=Side(outputs=student), teacher=Side(outputs=teacher), targets=TARGETS, temperature=temperature)
    return make(name, **options)(given)


@pytest.fixture(scope="module")
def torchdistill() -> Any:
    """Its losses; the package installs without torchvision by `pip install --no-deps torchdistill`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("torchdistill.losses.mid_level", reason="the oracle is not installed")


def layers(**tensors: torch.Tensor) -> dict[str, dict[str, torch.Tensor]]:
    return {name: {"output": tensor} for name, tensor in tensors.items()}


def test_attention_is_torchdistills(torchdistill: Any) -> None:
    path = {"io": "output", "path": "a"}
    oracle = torchdistill.ATLoss({"a": {"student": path, "teacher": path, "weight": 1}}, mode="code")
    ours = features("attention").mean()
    torch.testing.assert_close(ours, oracle(layers(a=STUDENT), layers(a=TEACHER)))


def test_relations_are_torchdistills(torchdistill: Any) -> None:
    ours, theirs = STUDENT.mean((2, 3)), TEACHER.mean((2, 3))
    oracle = torchdistill.RKDLoss("a", "a", 1, 1, "mean")
    # Its means count the zeros of the diagonals too: 36 pairs for 30, 216 triples for 6 * 5 * 4.
    distance = oracle.compute_rkd_distance_loss(theirs, ours) * 36 / 30
    torch.testing.assert_close(features("relational-distance").mean(), distance)
    angle = oracle.compute_rkd_angle_loss(theirs, ours) * 216 / 120
    torch.testing.assert_close(features("relational-angle").mean(), angle)


def test_similarity_is_the_difference_of_rows_of_unit_length_by_hand() -> None:
    # torchdistill 1.1.5 divides the rows by their sum of absolute values; the paper by their Euclidean length.
    def rows(x: torch.Tensor) -> np.ndarray:
        flat = x.numpy().reshape(6, -1)
        products = flat @ flat.T
        return products / np.linalg.norm(products, axis=1, keepdims=True)

    expected = ((rows(STUDENT) - rows(TEACHER)) ** 2).mean(axis=1)
    assert features("similarity").numpy() == pytest.approx(expected)


def test_the_soft_target_is_torchdistills(torchdistill: Any) -> None:
    ours, theirs = STUDENT.flatten(1), TEACHER.flatten(1)
    oracle = torchdistill.KDLoss("a", "output", "a", "output", temperature=3.0, alpha=0.0, reduction="batchmean")
    # Without a hard loss it leaves T squared out.
    expected = 3.0**2 * oracle(layers(a=ours), layers(a=theirs), TARGETS)
    torch.testing.assert_close(outputs("soft-target", ours, theirs, 3.0).mean(), expected)


def test_flow_has_torchdistills_matrices(torchdistill: Any) -> None:
    first, last = torch.randn(6, 4, 3, 3, dtype=torch.float64), torch.randn(6, 5, 3, 3, dtype=torch.float64)
    teacher = Side(outputs=last, features=(first, last))
    student = Side(outputs=last, features=(first + 1.0, last))
    matrix = torchdistill.FSPLoss.compute_fsp_matrix
    expected = (matrix(first + 1.0, last) - matrix(first, last)).square().mean((1, 2))
    loss = LOSSES.load("flow", "test")()
    torch.testing.assert_close(loss(Seen(student=student, teacher=teacher, targets=TARGETS)), expected)


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def test_decoupled_is_its_two_divergences_by_hand() -> None:
    rng, temperature = np.random.default_rng(0), 2.5
    student, teacher = rng.normal(size=(6, 5)), rng.normal(size=(6, 5))
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    expected = []
    for row, true in enumerate(TARGETS.tolist()):
        others = [c for c in range(5) if c != true]
        pairs = [(p[row, true], q[row, true]), (p[row, others].sum(), q[row, others].sum())]
        own = sum(a * np.log(a / b) for a, b in pairs)
        a, b = p[row, others] / p[row, others].sum(), q[row, others] / q[row, others].sum()
        expected.append(temperature**2 * (1.5 * own + 4.0 * (a * np.log(a / b)).sum()))
    ours = outputs("decoupled", torch.from_numpy(student), torch.from_numpy(teacher), temperature, alpha=1.5, beta=4.0)
    assert ours.numpy() == pytest.approx(np.array(expected), rel=1e-9)


def test_the_soft_target_is_decoupled_with_the_teachers_own_weights() -> None:
    # KD = TCKD + (1 - p_true) NCKD: Zhao et al. 2022, equation 6.
    student, teacher = STUDENT.flatten(1)[:1], TEACHER.flatten(1)[:1]
    given = {"student": Side(outputs=student), "teacher": Side(outputs=teacher), "targets": TARGETS[:1]}
    beta = 1.0 - float(torch.softmax(teacher / 2.0, 1)[0, TARGETS[0]])
    decoupled = make("decoupled", alpha=1.0, beta=beta)(Seen(**given, temperature=2.0))
    torch.testing.assert_close(decoupled, make("soft-target")(Seen(**given, temperature=2.0)))


def test_logits_mse_and_hint_are_means_of_squares_by_hand() -> None:
    squares = (STUDENT - TEACHER).numpy() ** 2
    assert features("hint").numpy() == pytest.approx(0.5 * squares.mean(axis=(1, 2, 3)))
    ours = outputs("logits-mse", STUDENT.flatten(1), TEACHER.flatten(1), 7.0)
    assert ours.numpy() == pytest.approx(squares.mean(axis=(1, 2, 3)))


def test_gram_is_the_distance_of_the_matrices_over_positions() -> None:
    def matrix(x: torch.Tensor) -> np.ndarray:
        maps = x.numpy().reshape(6, x.shape[1], -1)
        maps = maps / np.linalg.norm(maps, axis=2, keepdims=True)
        return np.einsum("bci,bcj->bij", maps, maps) / x.shape[1]

    wider = torch.cat((TEACHER, TEACHER.square()), 1)
    expected = ((matrix(STUDENT) - matrix(wider)) ** 2).sum(axis=(1, 2))
    assert features("gram", STUDENT, wider).numpy() == pytest.approx(expected)


def test_probabilistic_is_the_divergence_of_neighbours_by_hand() -> None:
    def neighbours(x: torch.Tensor) -> np.ndarray:
        v = x.mean((2, 3)).numpy()
        v = v / np.linalg.norm(v, axis=1, keepdims=True)
        kernel = (1 + v @ v.T) / 2
        np.fill_diagonal(kernel, 0.0)
        return kernel / kernel.sum(axis=1, keepdims=True)

    p, q = neighbours(TEACHER), neighbours(STUDENT)
    off = ~np.eye(6, dtype=bool)
    expected = [(p[i, off[i]] * np.log(p[i, off[i]] / q[i, off[i]])).sum() for i in range(6)]
    assert features("probabilistic").numpy() == pytest.approx(np.array(expected))


def test_contrastive_is_the_cross_entropy_against_other_classes_by_hand_with_and_without_a_queue() -> None:
    loss = make("contrastive", width=3, queue=4, temperature=0.5).train()
    with torch.no_grad():
        heads = [head(x.mean((2, 3))) for head, x in ((loss.student_head, STUDENT), (loss.teacher_head, TEACHER))]
    ours, theirs = ((h / h.norm(dim=1, keepdim=True)).numpy() for h in heads)
    seen = Seen(
        student=Side(outputs=STUDENT, features=(STUDENT,)),
        teacher=Side(outputs=TEACHER, features=(TEACHER,)),
        targets=TARGETS,
    )

    def by_hand(earlier: list[int]) -> np.ndarray:
        values = []
        for i in range(6):
            positive = np.exp(ours[i] @ theirs[i] / 0.5)
            others = [j for j in (*range(6), *earlier) if TARGETS[j] != TARGETS[i]]
            values.append(-np.log(positive / (positive + sum(np.exp(ours[i] @ theirs[j] / 0.5) for j in others))))
        return np.array(values)

    assert loss(seen).detach().numpy() == pytest.approx(by_hand([]))
    # The queue of four has the last four of the six.
    assert loss(seen).detach().numpy() == pytest.approx(by_hand([2, 3, 4, 5]), rel=1e-6)


def test_a_queue_keeps_the_newest_in_the_place_of_the_oldest() -> None:
    from edgekd.distill.losses.queue import Queue

    queue = Queue(3, 1)
    for value in (1.0, 2.0, 3.0, 4.0):
        queue.push(torch.tensor([[value]]), torch.tensor([int(value)]))
    assert queue.filled()[0].flatten().tolist() == [4.0, 2.0, 3.0]
    assert queue.filled()[1].tolist() == [4, 2, 3]


def test_self_supervision_is_the_divergence_over_all_anchors_by_hand() -> None:
    loss = make("self-supervised", queue=8, temperature=0.5).train()
    seen = Seen(
        student=Side(outputs=STUDENT, features=(STUDENT,)),
        teacher=Side(outputs=TEACHER, features=(TEACHER,)),
        targets=TARGETS,
    )
    s, t = (
        (v / np.linalg.norm(v, axis=1, keepdims=True)) for v in (x.mean((2, 3)).numpy() for x in (STUDENT, TEACHER))
    )
    for anchors in (t, np.concatenate((t, t))):
        p, q = softmax(t @ anchors.T / 0.5), softmax(s @ anchors.T / 0.5)
        assert loss(seen).detach().numpy() == pytest.approx((p * np.log(p / q)).sum(axis=1), rel=1e-5)


def test_sliced_transport_in_one_channel_is_the_exact_distance_of_sorted_values() -> None:
    student, teacher = STUDENT[:, :1], TEACHER[:, :1]
    scale = np.sqrt((teacher.numpy() ** 2).mean(axis=(1, 2, 3)))[:, None]
    ours, theirs = (np.sort(x.numpy().reshape(6, -1)) for x in (student, teacher))
    expected = (((ours - theirs) / scale) ** 2).mean(axis=1)
    # In one dimension every direction is 1 or -1.
    assert features("wasserstein-sliced", student, teacher).numpy() == pytest.approx(expected)


def test_transport_does_not_ask_where_a_value_stands() -> None:
    moved = TEACHER.flatten(2)[:, :, torch.randperm(9, generator=torch.Generator().manual_seed(2))].reshape(6, 4, 3, 3)
    assert features("wasserstein-sliced", moved).max() < 1e-12
    assert features("wasserstein-sinkhorn", moved).max() < 1e-6
    assert features("hint", moved).min() > 0.1


def test_a_weakly_regularized_sinkhorn_divergence_comes_near_the_exact_assignment() -> None:
    from scipy.optimize import linear_sum_assignment

    scale = TEACHER.flatten(1).square().mean(1).sqrt()[:, None, None]
    points = [(x.flatten(2).transpose(1, 2) / scale).numpy() for x in (STUDENT, TEACHER)]
    costs = ((points[0][:, :, None] - points[1][:, None]) ** 2).mean(axis=3)
    exact = [cost[linear_sum_assignment(cost)].mean() for cost in costs]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="ot")
        ours = features("wasserstein-sinkhorn", regularization=0.01, iterations=3000)
    assert ours.numpy() == pytest.approx(np.array(exact), rel=0.1)


def test_directions_change_from_batch_to_batch_in_training_and_start_again_from_the_state() -> None:
    loss = make("wasserstein-sliced", directions=3).train()
    seen = Seen(
        student=Side(outputs=STUDENT, features=(STUDENT,)),
        teacher=Side(outputs=TEACHER, features=(TEACHER,)),
        targets=TARGETS,
    )
    first, state, second = loss(seen), {k: v.clone() for k, v in loss.state_dict().items()}, loss(seen)
    assert not torch.equal(first, second)
    loss.load_state_dict(state)
    assert torch.equal(loss(seen), second)
