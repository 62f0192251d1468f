"""The first generation of a search: plans made from the sensitivity of each group, and uniform scalings."""

from __future__ import annotations

import numpy as np

from edgekd.search.evaluations import Evaluations
from edgekd.search.nsga import Genes, distinct
from edgekd.search.pareto import Array
from edgekd.search.problem import Problem
from edgekd.search.sensitivity import greedy_path, greedy_plans, group_sensitivities
from edgekd.search.settings import SearchSettings

UNIFORM_RATIOS = (1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25)


def first_genes(evaluations: Evaluations, settings: SearchSettings) -> Genes:
    """Return plans to begin with, `[plans, genes]`; the sensitivities of the groups are measured for them.

    A quarter of a generation are plans at the budgets, a quarter plans of all costs within them, then come the
    uniform scalings, the full network and the smallest. Without evaluations for the sensitivities, only these.
    """
    problem = evaluations.problem
    known = [problem.genes(*UNIFORM_RATIOS), np.zeros((1, len(problem.upper)), dtype=np.int64)]
    if evaluations.left > np.count_nonzero(problem.upper):
        known.insert(0, _greedy(evaluations, settings))
    return distinct(np.concatenate(known))


def sensitivities(evaluations: Evaluations) -> Array:
    """Return what narrowing each group alone costs, `[genes]`; tied groups count as one."""
    space = evaluations.problem.space

    def losses(genes: Genes) -> Array:
        evaluations.measure(genes)
        ids = [space.plan(widths).id for widths in space.widths(genes)]
        return np.array([evaluations.scores[id_].loss for id_ in ids])

    return group_sensitivities(space, losses)


def descent(problem: Problem, found: Array) -> Genes:
    """Return the plans of a greedy descent that keep the budgets, widest first; all plans if none does."""
    path = greedy_path(problem.space, found, lambda genes: relative_cost(problem, genes))
    kept = path[problem.excess(problem.cost(path)).max(axis=1, initial=0.0) <= 0]
    return kept if len(kept) else path


def relative_cost(problem: Problem, genes: Genes) -> Array:
    """Return the mean of the costs that are objectives or have budgets, each over the full network's, `[plans]`."""
    quantities = {name for name in problem.names if name != "loss"} | {b.quantity for b in problem.budgets}
    cost, full = problem.cost(genes), problem.cost(problem.genes(1.0))
    shares = [getattr(cost, name) / getattr(full, name)[0] for name in sorted(quantities or {"macs"})]
    mean: Array = np.mean(shares, axis=0)
    return mean


def spread(plans: Genes, count: int) -> Genes:
    """Return up to `count` of some plans, evenly spaced, the first and the last among them."""
    places = np.linspace(0, len(plans) - 1, min(count, len(plans))).round().astype(int)
    chosen: Genes = plans[np.unique(places)]
    return chosen


def _greedy(evaluations: Evaluations, settings: SearchSettings) -> Genes:
    problem, found = evaluations.problem, sensitivities(evaluations)
    at_budgets = greedy_plans(
        problem.space,
        found,
        lambda genes: problem.excess(problem.cost(genes)).max(axis=1, initial=0.0),
        count=settings.population // 4,
        generator=np.random.default_rng(settings.seed),
    )
    return np.concatenate([at_budgets, spread(descent(problem, found), settings.population // 4)])
