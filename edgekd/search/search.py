"""The width search: plans are costed exactly, measured by slicing, kept on disk, and chosen by an algorithm."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from edgekd.records import Budget, Generation, ParetoFront
from edgekd.search.algorithms import ALGORITHMS
from edgekd.search.costs import CostFunction
from edgekd.search.evaluations import Evaluations
from edgekd.search.front import make_front
from edgekd.search.ledger import Ledger, MeasureFunction
from edgekd.search.problem import Problem, objective_quantities
from edgekd.search.settings import SearchSettings
from edgekd.search.space import WidthSpace
from edgekd.search.stopping import EndedBy, SearchEnded, StoppingRules


def search_widths(
    space: WidthSpace,
    *,
    costs: CostFunction,
    measure: MeasureFunction,
    budgets: tuple[Budget, ...],
    settings: SearchSettings,
    journal: Path | None = None,
    clock: Callable[[], float] = time.monotonic,
    on_progress: Callable[[int, int, float], None] = lambda _done, _total, _best: None,
    on_generation: Callable[[Generation], None] = lambda _generation: None,
) -> ParetoFront:
    """Return the front of the objectives within the budgets.

    Every measured plan is appended to `journal` at once; a search started again with the same journal measures none of
    them again and, being seeded, comes to the same front by the same generations.

    Raises:
        UnknownNameError: There is no such objective.
        TargetError: The target has no table for an objective.
        RecipeError: Neither the loss nor a metric has any part in the search.
    """
    full = costs(space.widths(space.uniform(1.0)[None]))
    problem = Problem(
        space=space,
        costs=costs,
        budgets=budgets,
        names=objective_quantities(settings.objectives, full),
        least_metric=settings.least_metric,
    )
    evaluations = Evaluations(
        problem=problem,
        ledger=Ledger(journal, measure, clock),
        rules=StoppingRules(
            evaluations=settings.evaluations,
            time_budget_s=settings.time_budget_s,
            patience=settings.patience,
        ),
        on_progress=lambda done, best: on_progress(done, settings.evaluations, best),
        on_generation=on_generation,
    )
    ended_by = _run(evaluations, settings)
    return make_front(
        list(evaluations.seen.values()),
        objective_names=problem.names,
        reference_point=evaluations.reference,
        history=[(generation.evaluations, generation.hypervolume) for generation in evaluations.generations],
        seed=settings.seed,
        algorithm=settings.algorithm,
        ended_by=ended_by,
        surrogate=[generation.surrogate for generation in evaluations.generations],
    )


def _run(evaluations: Evaluations, settings: SearchSettings) -> EndedBy:
    """Run the algorithm and return the rule that ended it."""
    ended_by: EndedBy = "exhausted"
    evaluations.begin()
    try:
        ALGORITHMS[settings.algorithm](evaluations, settings)
    except SearchEnded as ended:
        ended_by = ended.rule
    evaluations.close()
    return ended_by
