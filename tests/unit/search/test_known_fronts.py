"""NSGA-II through our wrapper on problems whose fronts are known, beside pymoo's own run on real numbers.

Genes are whole numbers here, so each variable has 4001 levels. As in a search, the front is that of all candidates.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from edgekd.search.nsga import minimize
from edgekd.search.pareto import Array, hypervolume, non_dominated

LEVELS, POPULATION = 4000, 100
EDGE = 1.1  # of the reference point, in every objective


def zdt3_volume() -> float:
    """Integrate what lies above the lowest f2 = 1 - sqrt(x) - x sin(10 pi x) up to each x."""
    x = np.linspace(0.0, EDGE, 1_000_001)
    lowest = np.minimum.accumulate(np.where(x <= 1, 1 - np.sqrt(x) - x * np.sin(10 * np.pi * x), np.inf))
    return float((EDGE - lowest).mean() * EDGE)


# ZDT1: f2 = 1 - sqrt(f1), the integral of EDGE - f2 over [0, 1], and the strip beyond, where f2 is 0. ZDT2 likewise
# with f2 = 1 - f1^2. DTLZ2: the cube less the eighth of a unit ball.
PROBLEMS = {
    "zdt1": (30, 2, 200, (EDGE - 1) + 2 / 3 + (EDGE - 1) * EDGE),
    "zdt2": (30, 2, 200, (EDGE - 1) + 1 / 3 + (EDGE - 1) * EDGE),
    "zdt3": (30, 2, 200, zdt3_volume()),
    "dtlz2": (12, 3, 250, EDGE**3 - math.pi / 6),
}


def volume_of(points: list[Array]) -> float:
    everything = np.concatenate(points)
    near = everything[(everything < EDGE).all(axis=1)]
    return hypervolume(near[non_dominated(near)], np.full(near.shape[1], EDGE))


def problem_of(name: str) -> Any:
    from pymoo.problems import get_problem

    variables, objectives, _, _ = PROBLEMS[name]
    return get_problem(name, n_var=variables, **({"n_obj": objectives} if name == "dtlz2" else {}))


def our_volume(name: str) -> float:
    variables, objectives, generations, _ = PROBLEMS[name]
    problem, points = problem_of(name), []

    def evaluate(genes: Any) -> tuple[Array, Array]:
        points.append(problem.evaluate(genes / LEVELS, return_values_of=["F"]))
        return points[-1], np.zeros((len(genes), 1))

    minimize(
        evaluate,
        [LEVELS] * variables,
        initial=np.empty((0, variables), dtype=np.int64),
        population=POPULATION,
        generations=generations,
        objectives=objectives,
        constraints=1,
        seed=0,
    )
    return volume_of(points)


def pymoo_volume(name: str) -> float:
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import Problem
    from pymoo.optimize import minimize as run

    variables, objectives, generations, _ = PROBLEMS[name]
    problem, points = problem_of(name), []

    class Recorded(Problem):
        def _evaluate(self, x: Array, out: dict[str, Array], *_: Any, **__: Any) -> None:
            out["F"] = problem.evaluate(x, return_values_of=["F"])
            points.append(out["F"])

    recorded = Recorded(n_var=variables, n_obj=objectives, xl=0.0, xu=1.0)
    run(recorded, NSGA2(pop_size=POPULATION), ("n_gen", generations), seed=0)
    return volume_of(points)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBLEMS)
def test_nsga2_reaches_the_hypervolume_of_the_true_front_within_2_percent_as_pymoos_own_run_does(name: str) -> None:
    ours, theirs, whole = our_volume(name), pymoo_volume(name), PROBLEMS[name][3]
    assert 0.98 * whole <= ours <= whole
    assert ours >= 0.99 * theirs
