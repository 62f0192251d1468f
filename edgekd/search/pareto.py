"""Points none of which beats another: the front of a set of points, and the hypervolume it dominates."""

from __future__ import annotations

import moocore
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def hypervolume(points: Array, reference: Array) -> float:
    """Return the volume that `points` `[n, objectives]` dominate within `reference`; larger is better."""
    return float(moocore.hypervolume(points, ref=reference)) if len(points) else 0.0


def non_dominated(points: Array) -> npt.NDArray[np.int64]:
    """Return the indices of the points that no other point dominates, in ascending order; equal points all stay."""
    indices: npt.NDArray[np.int64] = np.flatnonzero(moocore.is_nondominated(points, keep_weakly=True))
    return indices


def add_most(points: Array, candidates: Array, reference: Array, count: int) -> list[int]:
    """Return which `count` candidates raise the hypervolume of `points` most, the best first, taken one by one.

    What a candidate adds only shrinks as others are taken, so those that added little before are seldom looked at
    again. Candidates that add nothing are left out.

    Source: Minoux 1978, "Accelerated greedy algorithms for maximizing submodular set functions".

    Args:
        points: Of the front so far, `[n, objectives]`.
        candidates: `[m, objectives]`.
        reference: The reference point.
        count: How many to take at the most.
    """
    front, volume = points[non_dominated(points)] if len(points) else points, hypervolume(points, reference)
    bounds = [hypervolume(row[None], reference) for row in candidates]
    chosen: list[int] = []
    left = set(range(len(candidates)))
    while left and len(chosen) < count:
        best, gain = -1, 0.0
        for index in sorted(left, key=lambda i: -bounds[i]):
            if bounds[index] <= gain:
                break
            bounds[index] = hypervolume(np.vstack([front, candidates[index]]), reference) - volume
            if bounds[index] > gain:
                best, gain = index, bounds[index]
        if best < 0:
            break
        chosen.append(best)
        left.remove(best)
        front = np.vstack([front, candidates[best]])
        volume += gain
    return chosen
