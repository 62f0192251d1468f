"""NSGA-II and NSGA-III over whole-number genes, by pymoo."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgekd.search.pareto import Array

Genes = npt.NDArray[np.int64]
Variant = Literal["nsga2", "nsga3"]


def minimize(
    evaluate: Callable[[Genes], tuple[Array, Array]],
    upper: Sequence[int],
    *,
    initial: Genes,
    population: int,
    generations: int | None,
    objectives: int,
    constraints: int,
    seed: int,
    variant: Variant = "nsga2",
) -> None:
    """Run a genetic algorithm; `evaluate` sees every candidate once and keeps what it wants.

    Integer simulated binary crossover and polynomial mutation, constrained domination, no duplicates.

    Args:
        evaluate: From genes `[plans, genes]` to objectives `[plans, objectives]` and violations
            `[plans, constraints]`, all minimized; a violation of at most 0 is none.
        upper: The largest value of each gene; the smallest is 0.
        initial: Genes of the first candidates; random ones fill up to `population`.
        population: Candidates a generation.
        generations: How many, the first included; `None` goes on until `evaluate` raises or nothing new is found.
        objectives: Their number.
        constraints: Their number.
        seed: Of everything random.
        variant: NSGA-III spreads its survivors by reference directions, NSGA-II by crowding.

    Source: Deb et al. 2002, "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE Transactions on
    Evolutionary Computation 6(2). Deb and Jain 2014, "An evolutionary many-objective optimization algorithm using
    reference-point-based nondominated sorting approach, part I", IEEE Transactions on Evolutionary Computation 18(4).
    """
    from pymoo.core.problem import Problem
    from pymoo.core.termination import NoTermination

    problem = Problem(
        n_var=len(upper), n_obj=objectives, n_ieq_constr=constraints, xl=0, xu=np.asarray(upper), vtype=int
    )
    asked: set[bytes] = set()
    options = _options(fill_up(initial, upper, population, seed), population, asked)
    algorithm = _ALGORITHMS[variant](objectives, options)
    termination = NoTermination() if generations is None else ("n_gen", generations)
    algorithm.setup(problem, termination=termination, seed=seed, verbose=False)
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


def fill_up(initial: Genes, upper: Sequence[int], population: int, seed: int) -> Genes:
    """Return the given candidates and then random ones, each once, at most `[population, genes]`."""
    generator = np.random.default_rng(seed)
    filler = generator.integers(0, np.asarray(upper) + 1, size=(population, len(upper)))
    return distinct(np.concatenate([initial, filler]))[:population]


def distinct(genes: Genes) -> Genes:
    """Return each row once, in the order they first come."""
    first_places = np.unique(genes, axis=0, return_index=True)[1]
    rows: Genes = genes[np.sort(first_places)]
    return rows


def _options(sampling: Genes, population: int, asked: set[bytes]) -> dict[str, Any]:
    """Operators for whole numbers that propose no candidate whose bytes are in `asked`."""
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

    return {
        "pop_size": population,
        "sampling": sampling,
        "crossover": SBX(prob=0.9, eta=10, vtype=float, repair=RoundingRepair()),
        "mutation": PM(eta=10, vtype=float, repair=RoundingRepair()),
        "eliminate_duplicates": NeverTwice(),
    }


def _nsga2(objectives: int, options: dict[str, Any]) -> Any:  # noqa: ARG001  (the form of both)
    from pymoo.algorithms.moo.nsga2 import NSGA2

    return NSGA2(**options)


def _nsga3(objectives: int, options: dict[str, Any]) -> Any:
    """Reference directions on a simplex lattice, no more than candidates."""
    from pymoo.algorithms.moo.nsga3 import NSGA3
    from pymoo.util.ref_dirs import get_reference_directions

    if objectives == 1:
        directions = np.ones((1, 1))
    else:
        directions = get_reference_directions("das-dennis", objectives, n_partitions=_partitions(objectives, options))
    return NSGA3(ref_dirs=directions, **options)


def _partitions(objectives: int, options: dict[str, Any]) -> int:
    """The most steps along an objective that give no more directions than candidates."""
    partitions = 1
    while math.comb(partitions + objectives, objectives - 1) <= options["pop_size"]:
        partitions += 1
    return partitions


_ALGORITHMS: dict[Variant, Callable[[int, dict[str, Any]], Any]] = {"nsga2": _nsga2, "nsga3": _nsga3}
