from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest

from edgekd.search.nsga import minimize
from edgekd.search.pareto import hypervolume, non_dominated

Array = npt.NDArray[np.float64]
Genes = npt.NDArray[np.int64]

UPPER = (5, 5, 5, 5)
LIMIT = 12.0
REFERENCE = np.array([80.0, 14.0])


def objectives(genes: Genes) -> Array:
    """A loss that falls with every gene, with diminishing returns, and a cost that rises: [plans, 2]."""
    worth = np.array([1.0, 0.8, 0.5, 0.2])
    price = np.array([1.0, 0.7, 0.9, 0.3])
    loss = ((5 - genes) ** 2 * worth).sum(axis=1)
    return np.stack([loss, (genes * price).sum(axis=1)], axis=1)


def violations(genes: Genes) -> Array:
    return genes.sum(axis=1, keepdims=True) - LIMIT


class Recorder:
    """Evaluates and remembers everything it was asked for."""

    def __init__(self) -> None:
        self.genes: list[tuple[int, ...]] = []

    def __call__(self, genes: Genes) -> tuple[Array, Array]:
        self.genes += [tuple(int(g) for g in row) for row in genes]
        return objectives(genes), violations(genes)


def search(seed: int, *, upper: tuple[int, ...] = UPPER, population: int = 20, generations: int = 20) -> Recorder:
    recorder = Recorder()
    minimize(
        recorder,
        upper,
        initial=np.array([[0] * len(upper), list(upper)]),
        population=population,
        generations=generations,
        objectives=2,
        constraints=1,
        seed=seed,
    )
    return recorder


def brute_force_front(points: Array) -> list[int]:
    """A point is dominated if another is nowhere worse and somewhere better."""
    return [
        i
        for i, p in enumerate(points)
        if not any((q <= p).all() and (q < p).any() for j, q in enumerate(points) if j != i)
    ]


def feasible_volume(genes: list[tuple[int, ...]]) -> float:
    feasible = np.array(sorted({g for g in genes if sum(g) <= LIMIT}))
    points = objectives(feasible)
    return hypervolume(points[brute_force_front(points)], REFERENCE)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_reaches_98_percent_of_the_volume_of_the_true_front(seed: int) -> None:
    every = list(itertools.product(*(range(n + 1) for n in UPPER)))  # 6^4 = 1296, of which 400 may be looked at
    found = search(seed)
    assert len(found.genes) <= 400
    assert feasible_volume(found.genes) >= 0.98 * feasible_volume(every)


def test_the_same_seed_asks_for_the_same_candidates_in_the_same_order_and_another_seed_for_others() -> None:
    assert search(3).genes == search(3).genes
    assert search(3).genes != search(4).genes


def test_constraints_draw_the_search_into_the_feasible_part() -> None:
    recorder = search(0)
    first, last = recorder.genes[:20], recorder.genes[-20:]
    share = [sum(sum(g) <= LIMIT for g in part) / len(part) for part in (first, last)]
    assert share[1] > 0.7
    assert share[1] >= share[0]


@pytest.mark.parametrize("upper", [UPPER, (2, 1, 1, 0)], ids=["1296 plans", "12 plans"])
def test_no_candidate_is_asked_for_twice_and_genes_stay_within_their_bounds(
    upper: tuple[int, ...],
) -> None:
    batches: list[list[tuple[int, ...]]] = []

    def evaluate(genes: Genes) -> tuple[Array, Array]:
        batches.append([tuple(int(g) for g in row) for row in genes])
        return objectives(genes), violations(genes)

    minimize(
        evaluate,
        upper,
        initial=np.array([upper, upper]),
        population=20,
        generations=10,
        objectives=2,
        constraints=1,
        seed=0,
    )
    asked = [genes for batch in batches for genes in batch]
    assert len(set(asked)) == len(asked) <= 200
    assert all(0 <= gene <= most for genes in asked for gene, most in zip(genes, upper, strict=True))


def test_a_space_of_few_candidates_is_searched_to_its_end() -> None:
    assert set(search(0, upper=(2, 1, 1, 0)).genes) == set(itertools.product(range(3), range(2), range(2), range(1)))


def test_the_given_candidates_come_first_and_each_once() -> None:
    recorder = search(0)
    assert recorder.genes[:2] == [(0, 0, 0, 0), (5, 5, 5, 5)]


@pytest.mark.parametrize(
    ("points", "reference", "volume"),
    [
        ([], [4.0, 4.0], 0.0),
        ([[1.0, 1.0]], [4.0, 3.0], 3.0 * 2.0),
        # Two steps: 1 wide and 3 high from x = 1 to 2, then 2 wide and 2 high... less what both cover.
        ([[1.0, 2.0], [2.0, 1.0]], [4.0, 4.0], 3.0 * 2.0 + 2.0 * 3.0 - 2.0 * 2.0),
        ([[1.0, 2.0], [1.5, 2.5]], [4.0, 4.0], 3.0 * 2.0),
        ([[1.0, 2.0], [5.0, 0.0]], [4.0, 4.0], 3.0 * 2.0),
        ([[4.0, 4.0]], [4.0, 4.0], 0.0),
        ([[1.0, 1.0, 1.0], [0.0, 2.0, 2.0]], [3.0, 3.0, 3.0], 8.0 + 3.0 - 2.0),
    ],
    ids=["no point", "one", "two", "a dominated one", "one beyond the reference", "at the reference", "three axes"],
)
def test_the_hypervolume_is_that_of_the_union_of_rectangles(
    points: list[list[float]], reference: list[float], volume: float
) -> None:
    array = np.array(points).reshape(-1, len(reference))
    assert hypervolume(array, np.array(reference)) == pytest.approx(volume)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_non_dominated_agrees_with_comparing_every_pair(axes: int, seed: int) -> None:
    # Small whole numbers, so that there are ties and equal points.
    points = np.random.default_rng(seed).integers(0, 6, size=(40, axes)).astype(float)
    assert non_dominated(points).tolist() == brute_force_front(points)
