"""Uniform scaling: every group keeps the same share of its channels."""

from __future__ import annotations

import numpy as np

from edgekd.search.evaluations import Evaluations
from edgekd.search.nsga import distinct
from edgekd.search.settings import SearchSettings

_STEPS = 256


def uniform(evaluations: Evaluations, settings: SearchSettings) -> None:  # noqa: ARG001  (the form of all algorithms)
    """Measure the uniform scalings, those within the budgets first, widest first."""
    problem = evaluations.problem
    genes = distinct(problem.genes(*np.linspace(1.0, 0.0, _STEPS)))
    excess = problem.excess(problem.cost(genes)).max(axis=1, initial=0.0)
    evaluations.generation(genes[np.argsort(np.maximum(excess, 0.0), kind="stable")])
