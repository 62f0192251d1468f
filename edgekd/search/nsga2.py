"""NSGA-II over whole-number genes, by pymoo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Genes = npt.NDArray[np.int64]


def minimize(
    evaluate: Callable[[Genes], tuple[Array, Array]],
    upper: Sequence[int],
    *,
    initial: Genes,
    population: int,
    generations: int,
    objectives: int,
    constraints: int,
    seed: int,
) -> None:
    """Run NSGA-II; `evaluate` sees every candidate once and keeps what it wants.

    Integer simulated binary crossover and polynomial mutation, constrained domination, no duplicates.

    Args:
        evaluate: From genes `[plans, groups]` to objectives `[plans, objectives]` and violations
            `[plans, constraints]`, all minimized; a violation of at most 0 is none.
        upper: The largest gene of each group; the smallest is 0.
        initial: Genes of the first candidates; random ones fill up to `population`.
        population: Candidates a generation.
        generations: How many, the first included.
        objectives: Their number.
        constraints: Their number.
        seed: Of everything random.

    Source: Deb et al. 2002, "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE Transactions on
    Evolutionary Computation 6(2).
    """
    from pymoo.core.problem import Problem

    problem = Problem(
        n_var=len(upper), n_obj=objectives, n_ieq_constr=constraints, xl=0, xu=np.asarray(upper), vtype=int
    )
    asked: set[bytes] = set()
    algorithm = _algorithm(_first_generation(initial, upper, population, seed), population, asked)
    algorithm.setup(problem, termination=("n_gen", generations), seed=seed, verbose=False)
    while algorithm.has_next():
        candidates = algorithm.ask()
        if candidates is None or len(candidates) == 0:
            break
        genes = candidates.get("X").astype(np.int64)
        asked.update(row.tobytes() for row in genes)
        values, violations = evaluate(genes)
        candidates.set("F", values)
        candidates.set("G", violations)
        # pymoo fills in the rest of an evaluation itself when it calls the problem; here it must be told.
        for candidate in candidates:
            candidate.evaluated.update(("F", "G"))
        algorithm.tell(infills=candidates)


def _first_generation(initial: Genes, upper: Sequence[int], population: int, seed: int) -> Genes:
    """The given candidates and then random ones, each once, `[population, groups]`."""
    generator = np.random.default_rng(seed)
    filler = generator.integers(0, np.asarray(upper) + 1, size=(population, len(upper)))
    candidates = np.concatenate([initial, filler])
    first_places = np.unique(candidates, axis=0, return_index=True)[1]
    chosen: Genes = candidates[np.sort(first_places)][:population]
    return chosen


def _algorithm(sampling: Genes, population: int, asked: set[bytes]) -> Any:
    """NSGA-II for whole numbers that proposes no candidate whose bytes are in `asked`."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.duplicate import DefaultDuplicateElimination
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair

    class NeverTwice(DefaultDuplicateElimination):  # type: ignore[misc]  # pymoo has no types
        """Refuses every candidate of any generation; pymoo's own forgets those that have left the population."""

        def _do(self, pop: Any, other: Any, is_duplicate: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
            known = [genes.astype(np.int64).tobytes() in asked for genes in pop.get("X")]
            repeated: npt.NDArray[np.bool_] = super()._do(pop, other, is_duplicate) | np.array(known)
            return repeated

    return NSGA2(
        pop_size=population,
        sampling=sampling,
        crossover=SBX(prob=0.9, eta=10, vtype=float, repair=RoundingRepair()),
        mutation=PM(eta=10, vtype=float, repair=RoundingRepair()),
        eliminate_duplicates=NeverTwice(),
    )


def hypervolume(points: Array, reference: Array) -> float:
    """Return the volume that `points` `[n, objectives]` dominate within `reference`; larger is better."""
    from pymoo.indicators.hv import HV

    return float(HV(ref_point=reference)(points)) if len(points) else 0.0


def non_dominated(points: Array) -> npt.NDArray[np.int64]:
    """Return the indices of the points that no other point dominates, in ascending order."""
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

    front = NonDominatedSorting().do(points, only_non_dominated_front=True)
    indices: npt.NDArray[np.int64] = np.sort(np.asarray(front, dtype=np.int64))
    return indices
