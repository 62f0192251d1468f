"""Rounds of NSGA-II or NSGA-III on predicted losses and exact costs, after each of which a few plans are measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekd.search.evaluations import Evaluations
from edgekd.search.first import first_genes
from edgekd.search.nsga import Genes, Variant, distinct, fill_up, minimize
from edgekd.search.pareto import Array, add_most, non_dominated
from edgekd.search.problem import Problem
from edgekd.search.settings import SearchSettings
from edgekd.search.surrogate import Surrogate

# How many of the plans measured in a round are for the hypervolume, and how many for the least loss within the budgets;
# the rest are those of the predicted front that are predicted least surely.
_FOR_HYPERVOLUME, _FOR_LOSS = 0.5, 0.25


def search_in_rounds(evaluations: Evaluations, settings: SearchSettings, variant: Variant) -> None:
    """Measure a first generation, then rounds of half a generation each, until a rule ends the search.

    Each round fits surrogates to all that was measured, searches on them, and measures what promises most and what is
    least sure.
    """
    upper = evaluations.problem.upper
    first = fill_up(first_genes(evaluations, settings), upper, settings.population, settings.seed)
    evaluations.generation(first)
    while True:
        seed = settings.seed + len(evaluations.seen)
        models = _fit(evaluations)
        pool = _unseen(evaluations, _search(evaluations, models, settings, variant, seed), upper, seed)
        if not len(pool):
            return
        batch = pool[_choose(evaluations, models, pool, max(1, settings.population // 2))]
        evaluations.generation(batch, models.losses(batch))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Models:
    """Surrogates of the loss and, where it has to reach something, of the metric."""

    problem: Problem
    loss: Surrogate
    metric: Surrogate | None

    def losses(self, genes: Genes) -> Array:
        return self.loss.mean(self.problem.space.widths(genes))

    def deviations(self, genes: Genes) -> Array:
        return self.loss.mean_and_deviation(self.problem.space.widths(genes))[1]

    def expect(self, genes: Genes) -> tuple[Array, Array]:
        """Return expected objectives `[plans, objectives]` and violations `[plans, constraints]`."""
        widths = self.problem.space.widths(genes)
        cost = self.problem.costs(widths)
        metrics = np.full(len(genes), np.nan) if self.metric is None else self.metric.mean(widths)
        return self.problem.values(cost, self.loss.mean(widths)), self.problem.violations(cost, metrics)


def _fit(evaluations: Evaluations) -> _Models:
    problem = evaluations.problem
    widths = problem.space.widths(np.array(evaluations.genes))
    metric = None
    if problem.least_metric is not None:
        metric = Surrogate(problem.space, widths, evaluations.metrics())
    return _Models(problem=problem, loss=Surrogate(problem.space, widths, evaluations.losses()), metric=metric)


def _search(evaluations: Evaluations, models: _Models, settings: SearchSettings, variant: Variant, seed: int) -> Genes:
    """Return all plans that a search on the surrogates looked at; of a space with no more plans than that, all."""
    problem = evaluations.problem
    sizes = [len(choices) for choices in problem.space.choices]
    if math.prod(sizes) <= settings.surrogate_population * settings.surrogate_generations:
        return np.stack(np.unravel_index(np.arange(math.prod(sizes)), sizes), axis=1).astype(np.int64)
    looked_at: list[Genes] = []

    def expect(genes: Genes) -> tuple[Array, Array]:
        looked_at.append(genes)
        return models.expect(genes)

    minimize(
        expect,
        problem.upper,
        initial=_best_measured(evaluations),
        population=settings.surrogate_population,
        generations=settings.surrogate_generations,
        objectives=len(problem.names),
        constraints=problem.constraints,
        seed=seed,
        variant=variant,
    )
    return np.concatenate(looked_at)


def _best_measured(evaluations: Evaluations) -> Genes:
    """Return the measured plans by ascending violation and loss."""
    violations = np.array([candidate.violation for candidate in evaluations.seen.values()])
    genes: Genes = np.array(evaluations.genes)[np.lexsort((evaluations.losses(), violations))]
    return genes


def _unseen(evaluations: Evaluations, looked_at: Genes, upper: list[int], seed: int) -> Genes:
    """Return the plans that were not measured yet; if there are none, random ones."""
    seen = set(evaluations.genes)

    def new(genes: Genes) -> Genes:
        is_new = np.array([tuple(row) not in seen for row in genes.tolist()], dtype=bool)
        rows: Genes = genes[is_new]
        return rows

    pool = new(distinct(looked_at))
    if len(pool):
        return pool
    return new(distinct(np.random.default_rng(seed).integers(0, np.asarray(upper) + 1, size=(1000, len(upper)))))


def _choose(evaluations: Evaluations, models: _Models, pool: Genes, count: int) -> npt.NDArray[np.intp]:
    """Return which plans of the pool to measure, at most `count`."""
    problem = evaluations.problem
    values, violations = models.expect(pool)
    excess = np.maximum(violations, 0.0).max(axis=1)
    kept = np.flatnonzero(excess <= 0)
    if not len(kept):  # what comes nearest to the constraints
        return np.argsort(excess, kind="stable")[:count]
    front = kept[non_dominated(values[kept])]
    reference = np.array(evaluations.reference)
    chosen: list[int] = []
    best = add_most(evaluations.feasible_points(), values[front], reference, round(count * _FOR_HYPERVOLUME))
    chosen += [int(front[index]) for index in best]
    means, deviations = models.loss.mean_and_deviation(problem.space.widths(pool))
    if problem.budgets or problem.least_metric is not None:
        for caution in np.linspace(0.0, 1.0, round(count * _FOR_LOSS)):
            _add(chosen, kept, means - caution * deviations)
    for _ in range(min(count, len(front)) - len(chosen)):
        _add(chosen, front, -deviations)
    for _ in range(min(count, len(kept)) - len(chosen)):
        _add(chosen, kept, -deviations)
    return np.array(chosen, dtype=np.intp)


def _add(chosen: list[int], among: npt.NDArray[np.intp], scores: Array) -> None:
    """Append the one of the smallest score that has not been chosen, if there is one."""
    left = np.setdiff1d(among, chosen)
    if len(left):
        chosen.append(int(left[np.argmin(scores[left])]))
