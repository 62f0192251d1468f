from __future__ import annotations

import numpy as np
import pytest

from edgekd.search.pareto import Array, add_most, hypervolume


def one_by_one(points: Array, candidates: Array, reference: Array, count: int) -> list[int]:
    """What looking at every candidate in every step takes."""
    chosen: list[int] = []
    for _ in range(count):
        volumes = [
            hypervolume(np.vstack([points, candidates[[*chosen, i]]]), reference) for i in range(len(candidates))
        ]
        before = hypervolume(np.vstack([points, candidates[chosen]]), reference)
        if max(volumes) <= before:
            break
        chosen.append(int(np.argmax(volumes)))
    return chosen


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_what_adds_most_to_the_hypervolume_is_taken_first(axes: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    points, candidates = generator.random((3, axes)), generator.random((30, axes))
    reference = np.ones(axes)
    assert add_most(points, candidates, reference, 6) == one_by_one(points, candidates, reference, 6)


def test_what_adds_nothing_is_not_taken() -> None:
    points = np.array([[0.2, 0.2]])
    candidates = np.array([[0.5, 0.5], [0.1, 0.8], [2.0, 0.0]])  # dominated, better in the first, beyond the reference
    assert add_most(points, candidates, np.ones(2), 3) == [1]
    assert add_most(np.empty((0, 2)), candidates[:1], np.ones(2), 3) == [0]
