"""From evaluated candidates to a front, to the plan that is built, and to `front.json` and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgekd.errors import SearchError
from edgekd.records import Candidate, Generation, ParetoFront, SurrogateQuality
from edgekd.search.ledger import finite
from edgekd.search.pareto import hypervolume, non_dominated


def make_front(
    candidates: Sequence[Candidate],
    *,
    objective_names: tuple[str, ...],
    reference_point: tuple[float, ...],
    history: Sequence[tuple[int, float]],
    seed: int,
    algorithm: str = "nsga2",
    ended_by: str = "evaluations",
    surrogate: Sequence[SurrogateQuality | None] = (),
) -> ParetoFront:
    """Return the feasible candidates that no other feasible one dominates, by ascending loss (the first objective)."""
    feasible = [c for c in candidates if c.violation <= 0 and np.isfinite(c.objectives).all()]
    if feasible:
        front = non_dominated(np.array([c.objectives for c in feasible]))
        feasible = sorted((feasible[i] for i in front), key=lambda c: (c.objectives, c.plan.id))
    points = np.array([c.objectives for c in feasible]).reshape(-1, len(objective_names))
    return ParetoFront(
        objective_names=objective_names,
        candidates=tuple(feasible),
        reference_point=reference_point,
        hypervolume=hypervolume(points, np.array(reference_point)),
        evaluations=len(candidates),
        seed=seed,
        history=tuple(history),
        algorithm=algorithm,
        ended_by=ended_by,
        surrogate=tuple(surrogate),
    )


def choose(front: ParetoFront) -> Candidate:
    """Return the candidate with the smallest loss: budgets are constraints, and within them accuracy is wanted.

    Where the loss is no objective, the first objective decides.

    Raises:
        SearchError: The front is empty.
    """
    if not front.candidates:
        raise SearchError(
            "search",
            expected="at least one candidate that meets every budget",
            found=f"none among {front.evaluations} evaluations",
            hint="Allow more with --evaluations, or loosen a budget.",
        )
    first = front.objective_names.index("loss") if "loss" in front.objective_names else 0
    return min(front.candidates, key=lambda c: (c.objectives[first], c.plan.id))


def front_document(front: ParetoFront) -> dict[str, Any]:
    """Return the content of `front.json`."""
    return {
        "schema_version": 1,
        "objective_names": list(front.objective_names),
        "reference_point": list(front.reference_point),
        "hypervolume": front.hypervolume,
        "evaluations": front.evaluations,
        "seed": front.seed,
        "algorithm": front.algorithm,
        "ended_by": front.ended_by,
        "history": [list(entry) for entry in front.history],
        "surrogate": [_quality_document(quality) for quality in front.surrogate],
        "candidates": [_candidate_document(candidate) for candidate in front.candidates],
    }


def generation_document(generation: Generation) -> dict[str, Any]:
    """Return the content of a file of `search/generations/`: objectives are in the order of `front.json`.

    An objective that is not finite, as the loss of a network that overflows, is null.
    """
    return {
        "schema_version": 1,
        "generation": generation.number,
        "evaluations": generation.evaluations,
        "hypervolume": generation.hypervolume,
        "surrogate": _quality_document(generation.surrogate),
        "candidates": [_candidate_document(candidate) for candidate in generation.candidates],
    }


def _candidate_document(candidate: Candidate) -> dict[str, Any]:
    return {
        "id": candidate.plan.id,
        "widths": dict(candidate.plan.widths),
        "objectives": [finite(value) for value in candidate.objectives],
        "violation": candidate.violation,
        "size_bytes": candidate.size_bytes,
        "memory_bytes": candidate.memory_bytes,
        "macs": candidate.macs,
        "parameters": candidate.parameters,
        "loss": finite(candidate.loss),
        "metric": finite(candidate.metric),
    }


def _quality_document(quality: SurrogateQuality | None) -> dict[str, Any] | None:
    return None if quality is None else dataclasses.asdict(quality)
