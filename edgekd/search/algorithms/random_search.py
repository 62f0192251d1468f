"""Random search: plans drawn uniformly among those that keep the budgets."""

from __future__ import annotations

import numpy as np

from edgekd.search.evaluations import Evaluations
from edgekd.search.nsga import Genes, distinct
from edgekd.search.settings import SearchSettings

_DRAWN = 20_000


def random(evaluations: Evaluations, settings: SearchSettings) -> None:
    """Measure random plans by generations; costs are exact, so plans over a budget are not measured.

    Where hardly any random plan keeps the budgets, those nearest to them are taken.
    """
    generator = np.random.default_rng(settings.seed)
    while len(genes := _drawn(evaluations, generator)):
        evaluations.generation(genes[: settings.population])


def _drawn(evaluations: Evaluations, generator: np.random.Generator) -> Genes:
    """Return new plans, those that keep the budgets first."""
    problem = evaluations.problem
    genes = generator.integers(0, np.asarray(problem.upper) + 1, size=(_DRAWN, len(problem.upper)))
    seen = set(evaluations.genes)
    genes = np.array([row for row in distinct(genes) if tuple(row.tolist()) not in seen], dtype=np.int64)
    if not len(genes):
        return genes
    excess = problem.excess(problem.cost(genes)).max(axis=1, initial=0.0)
    return genes[np.argsort(np.maximum(excess, 0.0), kind="stable")]
