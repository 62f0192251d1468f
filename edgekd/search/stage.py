"""The search stage: from a ranked network and budgets to the front and the plan that is built."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import numpy as np
from torch import fx

from edgekd.budgets import BOUNDED
from edgekd.data import Samples
from edgekd.errors import InfeasibleError, ModelError, RecipeError
from edgekd.events import EventLog
from edgekd.export.size import SizeModel, fit_size
from edgekd.inputs import Inputs
from edgekd.models.evaluate import measure
from edgekd.prune.groups import ChannelMap
from edgekd.quantities import describe_metric, format_share
from edgekd.recipe import Recipe
from edgekd.records import Budget, Generation, Metric, ParetoFront, Plan, Precision, Target
from edgekd.search.accuracy import candidate_network, candidate_score
from edgekd.search.constraints import Constraints, constrain
from edgekd.search.costs import CostFunction
from edgekd.search.front import generation_document
from edgekd.search.ledger import Score
from edgekd.search.plan_costs import cost_function
from edgekd.search.problem import searched_limit
from edgekd.search.search import search_widths
from edgekd.search.settings import SearchSettings
from edgekd.search.space import WidthSpace, count_operators, width_space
from edgekd.store import RunFolder, write_json


def find_front(
    network: fx.GraphModule,
    channels: ChannelMap,
    inputs: Inputs,
    *,
    target: Target,
    budgets: tuple[Budget, ...],
    original_bytes: int,
    recipe: Recipe,
    run: RunFolder,
    on_progress: Callable[[int, int, str], None],
) -> ParetoFront:
    """Return the front of the search.

    Args:
        network: The network as it came.
        channels: Its ranked groups.
        inputs: The data.
        target: Whose tables and channel multiple count.
        budgets: What every candidate on the front keeps.
        original_bytes: Size of the uncompressed ONNX file of the precision the size budget is for.
        recipe: The settings.
        run: Where measured losses are kept.
        on_progress: Called with evaluations done and in all, and a line of text.

    Raises:
        ModelError: Nothing can be pruned.
        RecipeError: The constraints leave nothing to choose, or an accuracy is to be kept and the task has a metric
            that is better when lower.
        InfeasibleError: Even the smallest network is over a budget.
        TargetError: The target has no table for an objective.
    """
    settings = _settings(recipe, inputs)
    space = search_space(channels, target, recipe)
    full = space.widths(space.uniform(1.0)[None])
    size_model: SizeModel = fit_size(
        count_operators(network, channels, full), original_bytes, _precision(recipe.size_of)
    )
    costs = cost_function(network, channels, space, target, size_model)
    recalibration = inputs.splits.train.sample(recipe.recalibration_samples, recipe.seed)

    def score(plan: Plan) -> Score:
        candidate = candidate_network(network, channels, plan, recalibration, inputs.normalization)
        return candidate_score(candidate, inputs.splits.search, inputs.normalization, inputs.task)

    _require_feasible(network, channels, space, costs, budgets, inputs, recalibration)
    return search_widths(
        space,
        costs=costs,
        measure=score,
        budgets=budgets,
        settings=settings,
        journal=run.losses,
        on_progress=lambda done, total, best: on_progress(
            done, max(done, total), f"{done} plans, best loss within the budgets {best:.3f}"
        ),
        on_generation=_recorder(run),
    )


def search_space(channels: ChannelMap, target: Target, recipe: Recipe) -> WidthSpace:
    """Return the widths to choose from: multiples of the target's, within the recipe's constraints.

    Raises:
        ModelError: Nothing can be pruned.
        RecipeError: Freezing, ties or the least width leave nothing to choose.
        UnknownNameError: A group or layer to freeze or tie is not known.
    """
    space = width_space(channels, target.channel_multiple)
    if not space.choices:
        reasons = sorted({str(group.reason) for group in channels.groups})
        raise ModelError(
            "model",
            expected="channels that can be dropped",
            found=f"none: {'; '.join(reasons)}",
            hint="`edgekd inspect` shows every group with its reason.",
        )
    constraints = Constraints(freeze=recipe.freeze, ties=recipe.tie, min_width=recipe.min_width)
    return constrain(space, channels.groups, constraints)


def _settings(recipe: Recipe, inputs: Inputs) -> SearchSettings:
    least, metric = recipe.min_search_accuracy, inputs.task.metric
    if least and not metric.higher_is_better:
        raise RecipeError(
            "recipe, min_search_accuracy",
            expected="0, since the task's metric is better when lower",
            found=f"{least} for {metric.name}",
            hint="Leave it out: the search minimizes the task's loss.",
        )
    return SearchSettings(
        evaluations=recipe.evaluations,
        population=recipe.population,
        seed=recipe.seed,
        algorithm=recipe.algorithm,
        objectives=recipe.objectives,
        surrogate=recipe.surrogate,
        patience=recipe.patience,
        time_budget_s=recipe.search_seconds,
        least_metric=least or None,
    )


def _recorder(run: RunFolder) -> Callable[[Generation], None]:
    """Return what writes every generation into a file of its own and its key figures as events.

    A resumed search goes through all generations again, so both begin anew.
    """
    for folder in (run.generations, run.logs / "search"):
        shutil.rmtree(folder, ignore_errors=True)
    events = EventLog(run.logs / "search")

    def record(generation: Generation) -> None:
        path = run.generations / f"{generation.number:04}.json"
        write_json(path, generation_document(generation))
        scalars = {"hypervolume": generation.hypervolume, "evaluations": generation.evaluations}
        feasible = [c.loss for c in generation.candidates if c.loss is not None and c.violation <= 0]
        if feasible:
            scalars["best new loss"] = min(feasible)
        quality = generation.surrogate
        if quality is not None:
            scalars["surrogate mean absolute error"] = quality.mean_absolute_error
        if quality is not None and quality.kendall_tau is not None:
            scalars["surrogate Kendall tau"] = quality.kendall_tau
        events.write(scalars, generation.number)

    return record


def _require_feasible(
    network: fx.GraphModule,
    channels: ChannelMap,
    space: WidthSpace,
    costs: CostFunction,
    budgets: tuple[Budget, ...],
    inputs: Inputs,
    recalibration: Samples,
) -> None:
    smallest = space.widths(np.zeros((1, len(space.choices)), dtype=np.int64))
    cost = costs(smallest)
    for budget in budgets:
        least = float(getattr(cost, budget.quantity)[0])
        if least <= searched_limit(budget):
            continue
        plan = space.plan(smallest[0])
        candidate = candidate_network(network, channels, plan, recalibration, inputs.normalization)
        reached = measure(
            candidate, inputs.splits.validation, inputs.normalization, split="validation", task=inputs.task
        )
        kind = BOUNDED[budget.quantity]
        raise InfeasibleError(
            f"budget on {budget.quantity}",
            expected=f"a network of at most {kind.format(budget.limit)}",
            found=(
                f"the smallest reachable is {kind.format(least)} (plan {plan.id}), with "
                f"{_reached(reached)} before any training"
            ),
            hint="Raise the budget, or start from a smaller network.",
        )


def _reached(metric: Metric) -> str:
    if metric.name != "accuracy":
        return describe_metric(metric)
    return f"an accuracy of {format_share(metric.value)} on {metric.samples} validation images"


def _precision(name: str) -> Precision:
    precisions: dict[str, Precision] = {"fp32": "fp32", "fp16": "fp16", "int8": "int8"}
    return precisions[name]
