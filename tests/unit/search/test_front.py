from __future__ import annotations

import json
import math

import pytest

from edgekd.errors import SearchError
from edgekd.records import Candidate, ParetoFront, Plan, SurrogateQuality
from edgekd.search.front import choose, front_document, make_front


def candidate(width: int, *objectives: float, violation: float = 0.0) -> Candidate:
    plan = Plan(widths=(("a", width),))
    return Candidate(
        plan=plan,
        objectives=objectives,
        violation=violation,
        size_bytes=10 * width,
        memory_bytes=3 * width,
        macs=width,
        parameters=2 * width,
    )


def front(*candidates: Candidate) -> ParetoFront:
    return make_front(
        candidates,
        objective_names=("loss", "latency_us"),
        reference_point=(3.0, 100.0),
        history=[(2, 1.0), (4, 2.5)],
        seed=7,
        ended_by="time",
        surrogate=[None, SurrogateQuality(trained_on=2, unseen=2, kendall_tau=1.0, mean_absolute_error=0.25)],
    )


def test_the_front_has_the_feasible_finite_candidates_that_none_dominates_by_ascending_loss() -> None:
    made = front(
        candidate(1, 2.0, 10.0),
        candidate(2, 1.0, 50.0),
        candidate(3, 2.5, 20.0),  # dominated by the first
        candidate(4, 0.1, 5.0, violation=0.01),  # over a budget
        candidate(5, math.inf, 1.0),
        candidate(6, math.nan, 1.0),
    )
    assert [dict(c.plan.widths)["a"] for c in made.candidates] == [2, 1]
    assert made.evaluations == 6
    # Two rectangles to (3, 100): 2 x 50 of the first, 1 x 90 of the second, which share 1 x 50.
    assert made.hypervolume == pytest.approx(2 * 50 + 1 * 90 - 1 * 50)


def test_choose_takes_the_smallest_loss_among_the_feasible() -> None:
    made = front(candidate(1, 2.0, 10.0), candidate(2, 1.0, 50.0), candidate(3, 0.5, 40.0, violation=1e-9))
    assert dict(choose(made).plan.widths) == {"a": 2}


def test_candidates_of_equal_objectives_are_told_apart_by_their_plan_so_that_the_order_of_search_does_not_matter() -> (
    None
):
    equal = [candidate(width, 1.0, 10.0) for width in (1, 2, 3)]
    assert choose(front(*equal)) == choose(front(*reversed(equal)))
    assert choose(front(*equal)).plan.id == min(c.plan.id for c in equal)


def test_an_empty_front_says_how_many_were_tried_and_what_to_change() -> None:
    with pytest.raises(SearchError, match="none among 2 evaluations") as caught:
        choose(front(candidate(1, 1.0, 1.0, violation=0.5), candidate(2, math.inf, 1.0)))
    assert "--evaluations" in caught.value.hint
    assert caught.value.exit_code == 4


def test_the_document_holds_every_field_of_the_front_as_json() -> None:
    made = front(candidate(1, 2.0, 10.0), candidate(2, 1.0, 50.0))
    document = json.loads(json.dumps(front_document(made), allow_nan=False))
    best = made.candidates[0]
    assert document == {
        "schema_version": 1,
        "objective_names": ["loss", "latency_us"],
        "reference_point": [3.0, 100.0],
        "hypervolume": made.hypervolume,
        "evaluations": 2,
        "seed": 7,
        "algorithm": "nsga2",
        "ended_by": "time",
        "history": [[2, 1.0], [4, 2.5]],
        "surrogate": [
            None,
            {"trained_on": 2, "unseen": 2, "kendall_tau": 1.0, "mean_absolute_error": 0.25},
        ],
        "candidates": [
            {
                "id": best.plan.id,
                "widths": {"a": 2},
                "objectives": [1.0, 50.0],
                "violation": 0.0,
                "size_bytes": 20,
                "memory_bytes": 6,
                "macs": 2,
                "parameters": 4,
                "loss": None,
                "metric": None,
            },
            {
                "id": made.candidates[1].plan.id,
                "widths": {"a": 1},
                "objectives": [2.0, 10.0],
                "violation": 0.0,
                "size_bytes": 10,
                "memory_bytes": 3,
                "macs": 1,
                "parameters": 2,
                "loss": None,
                "metric": None,
            },
        ],
    }
