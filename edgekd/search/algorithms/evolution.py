"""NSGA-II and NSGA-III, on a surrogate or with every loss measured."""

from __future__ import annotations

from edgekd.search.algorithms.rounds import search_in_rounds
from edgekd.search.evaluations import Evaluations
from edgekd.search.first import first_genes
from edgekd.search.nsga import Variant, minimize
from edgekd.search.settings import SearchSettings


def nsga2(evaluations: Evaluations, settings: SearchSettings) -> None:
    """Search by NSGA-II, whose survivors are spread by crowding."""
    _search(evaluations, settings, "nsga2")


def nsga3(evaluations: Evaluations, settings: SearchSettings) -> None:
    """Search by NSGA-III, whose survivors are spread by reference directions."""
    _search(evaluations, settings, "nsga3")


def _search(evaluations: Evaluations, settings: SearchSettings, variant: Variant) -> None:
    if settings.surrogate:
        search_in_rounds(evaluations, settings, variant)
        return
    problem = evaluations.problem
    minimize(
        evaluations.generation,
        problem.upper,
        initial=first_genes(evaluations, settings),
        population=settings.population,
        generations=None,
        objectives=len(problem.names),
        constraints=problem.constraints,
        seed=settings.seed,
        variant=variant,
    )
