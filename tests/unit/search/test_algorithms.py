"""What every algorithm promises, and what each is for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd.errors import RecipeError, TargetError, UnknownNameError
from edgekd.recipe import ALGORITHM_NAMES, OBJECTIVE_NAMES
from edgekd.records import Budget, Generation, ParetoFront, Plan
from edgekd.search.algorithms import ALGORITHMS
from edgekd.search.costs import PlanCosts
from edgekd.search.front import choose
from edgekd.search.ledger import Score
from edgekd.search.problem import OBJECTIVES
from edgekd.search.search import search_widths
from edgekd.search.settings import SearchSettings
from edgekd.search.space import Widths, WidthSpace

GROUPS, EVALUATIONS = 12, 40
SPACE = WidthSpace(names=tuple("abcdefghijkl"), choices=((8, 16, 24, 32),) * GROUPS)
WORTH = np.linspace(1.0, 0.1, GROUPS)
PRICE = np.linspace(0.5, 2.0, GROUPS)
HALF = Budget(quantity="latency_us", limit=0.5 * 32 * float(PRICE.sum()))

WAYS = {name: (name, True) for name in ALGORITHM_NAMES} | {
    "nsga2, every plan measured": ("nsga2", False),
    "nsga3, every plan measured": ("nsga3", False),
}


def costs(widths: Widths) -> PlanCosts:
    return PlanCosts(
        size_bytes=100 * widths.sum(axis=1),
        macs=(widths**2).sum(axis=1),
        parameters=widths.sum(axis=1),
        latency_us=widths @ PRICE,
        energy_uj=None,
        memory_bytes=64 * widths.max(axis=1),
    )


class Measured:
    """A loss that falls with every width, more where neighbours are narrow, and an accuracy that follows it."""

    def __init__(self, is_broken: Callable[[Plan], bool] = lambda _plan: False) -> None:
        self.asked: list[str] = []
        self._is_broken = is_broken

    def __call__(self, plan: Plan) -> Score:
        self.asked.append(plan.id)
        dropped = 1 - np.array([width for _, width in plan.widths]) / 32
        loss = 0.3 + float(dropped**2 @ WORTH[: len(dropped)] + dropped[1:] @ dropped[:-1] / 4)
        return Score(loss=math.nan) if self._is_broken(plan) else Score(loss=loss, metric=1 - loss / 8)


def search(
    measured: Measured, *budgets: Budget, way: str = "nsga2", space: WidthSpace = SPACE, **settings: Any
) -> ParetoFront:
    algorithm, surrogate = WAYS[way]
    options = {key: settings.pop(key) for key in ("journal", "clock", "on_generation") if key in settings}
    quick = {"evaluations": EVALUATIONS, "population": 12, "surrogate_population": 40, "surrogate_generations": 10}
    settings = quick | settings
    return search_widths(
        space,
        costs=costs if space is SPACE else lambda widths: few_costs(widths),
        measure=measured,
        budgets=budgets,
        settings=SearchSettings(algorithm=algorithm, surrogate=surrogate, **settings),
        **options,
    )


def few_costs(widths: Widths) -> PlanCosts:
    total = widths.sum(axis=1)
    return PlanCosts(
        size_bytes=total,
        macs=total,
        parameters=total,
        latency_us=total.astype(float),
        energy_uj=None,
        memory_bytes=total,
    )


def test_recipes_know_the_same_algorithms_and_objectives_as_the_search() -> None:
    assert set(ALGORITHMS) == set(ALGORITHM_NAMES)
    assert set(OBJECTIVES) == set(OBJECTIVE_NAMES)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_measures_no_plan_twice_keeps_its_evaluations_and_repeats_itself(way: str) -> None:
    first, second = Measured(), Measured()
    front = search(first, HALF, way=way)
    assert len(first.asked) == len(set(first.asked)) == front.evaluations <= EVALUATIONS
    assert front == search(second, HALF, way=way)
    assert first.asked == second.asked
    assert front.algorithm == WAYS[way][0]
    assert front.ended_by == ("exhausted" if way in ("uniform", "greedy") else "evaluations")
    assert front.candidates
    assert all(candidate.violation <= 0 for candidate in front.candidates)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("killed_at", [1, 33])
def test_every_way_goes_on_after_a_kill_to_the_same_front(way: str, killed_at: int, tmp_path: Path) -> None:
    whole = Measured()
    uninterrupted = search(whole, HALF, way=way)
    if len(whole.asked) < killed_at:
        killed_at = len(whole.asked)

    class Killed(Measured):
        def __call__(self, plan: Plan) -> Score:
            if len(self.asked) + 1 == killed_at:
                raise KeyboardInterrupt
            return super().__call__(plan)

    journal = tmp_path / "losses.jsonl"
    with pytest.raises(KeyboardInterrupt):
        search(Killed(), HALF, way=way, journal=journal)
    rest = Measured()
    assert search(rest, HALF, way=way, journal=journal) == uninterrupted
    assert rest.asked == whole.asked[killed_at - 1 :]


@pytest.mark.parametrize("way", WAYS)
def test_one_group_alone_is_searched_to_its_end(way: str) -> None:
    measured = Measured()
    front = search(measured, way=way, space=WidthSpace(names=("a",), choices=((8, 16, 24, 32),)))
    assert front.ended_by == "exhausted"
    assert len(measured.asked) == 4
    assert [dict(candidate.plan.widths)["a"] for candidate in front.candidates] == [32, 24, 16, 8]


@pytest.mark.parametrize("way", WAYS)
def test_where_every_group_stays_whole_the_front_is_the_network_itself(way: str) -> None:
    front = search(Measured(), way=way, space=WidthSpace(names=("a", "b"), choices=((32,), (16,))))
    assert front.ended_by == "exhausted"
    assert [dict(candidate.plan.widths) for candidate in front.candidates] == [{"a": 32, "b": 16}]


@pytest.mark.parametrize("way", WAYS)
def test_candidates_without_a_finite_loss_are_recorded_and_kept_off_the_front(way: str) -> None:
    generations: list[Generation] = []
    broken = Measured(lambda plan: dict(plan.widths)["a"] == 16)
    front = search(broken, way=way, on_generation=generations.append)
    recorded = [c for generation in generations for c in generation.candidates if dict(c.plan.widths)["a"] == 16]
    assert recorded
    assert all(candidate.loss == math.inf for candidate in recorded)
    assert front.candidates
    assert all(dict(candidate.plan.widths)["a"] != 16 for candidate in front.candidates)
    assert math.isfinite(front.hypervolume)


def test_a_network_that_never_has_a_finite_loss_ends_with_an_empty_front() -> None:
    front = search(Measured(lambda _plan: True), HALF)
    assert front.candidates == ()
    assert front.evaluations == EVALUATIONS


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_with_a_surrogate_fewer_measurements_give_more_than_random_search_and_plain_nsga2(seed: int) -> None:
    volumes = {
        way: search(Measured(), HALF, way=way, evaluations=evaluations, seed=seed).hypervolume
        for way, evaluations in (("nsga2", 60), ("random", 60), ("nsga2, every plan measured", 120))
    }
    assert volumes["nsga2"] > 1.05 * volumes["random"]
    assert volumes["nsga2"] > volumes["nsga2, every plan measured"]


def test_each_round_says_how_well_the_plans_it_had_not_seen_were_predicted() -> None:
    generations: list[Generation] = []
    front = search(Measured(), HALF, on_generation=generations.append)
    first, *rounds = generations
    assert first.surrogate is None
    before = first.evaluations
    for generation in rounds:
        assert generation.surrogate is not None
        assert generation.surrogate.trained_on == before
        assert generation.surrogate.unseen == len(generation.candidates) == generation.evaluations - before
        before = generation.evaluations
    assert front.surrogate == tuple(generation.surrogate for generation in generations)
    assert np.median([g.surrogate.kendall_tau for g in rounds if g.surrogate and g.surrogate.kendall_tau]) > 0.6


def test_plans_measured_without_a_surrogate_have_no_such_errors() -> None:
    assert set(search(Measured(), way="nsga2, every plan measured").surrogate) == {None}


def test_uniform_scaling_narrows_all_groups_alike_and_greedy_does_not() -> None:
    uniform, greedy = (search(Measured(), way=way) for way in ("uniform", "greedy"))
    assert all(len(set(dict(candidate.plan.widths).values())) == 1 for candidate in uniform.candidates)
    assert any(len(set(dict(candidate.plan.widths).values())) > 1 for candidate in greedy.candidates)
    assert greedy.hypervolume > uniform.hypervolume


def test_without_a_budget_random_search_measures_the_full_network_too() -> None:
    front = search(Measured(), way="random")
    assert set(dict(choose(front).plan.widths).values()) == {32}


@pytest.mark.parametrize(
    ("objectives", "quantities"),
    [
        ((), ("loss", "latency_us")),
        (("loss",), ("loss",)),
        (("loss", "size", "macs"), ("loss", "size_bytes", "macs")),
        (("latency", "loss"), ("latency_us", "loss")),
        (("loss", "parameters"), ("loss", "parameters")),
        (("loss", "memory"), ("loss", "memory_bytes")),
    ],
)
@pytest.mark.parametrize("way", ["nsga2", "nsga3, every plan measured", "greedy"])
def test_any_subset_of_objectives_can_be_minimized(
    objectives: tuple[str, ...], quantities: tuple[str, ...], way: str
) -> None:
    front = search(Measured(), HALF, way=way, objectives=objectives)
    assert front.objective_names == quantities
    points = np.array([candidate.objectives for candidate in front.candidates])
    for point in points:
        assert not ((points <= point).all(axis=1) & (points < point).any(axis=1)).any()
    if objectives == ("loss",):
        assert len(front.candidates) == 1
    assert choose(front).loss == min(c.loss for c in front.candidates if c.loss is not None)


@pytest.mark.parametrize("way", ["nsga2", "nsga2, every plan measured", "random"])
def test_an_accuracy_to_keep_is_a_constraint_and_latency_alone_can_then_be_minimized(way: str) -> None:
    front = search(Measured(), way=way, objectives=("latency",), least_metric=0.8, evaluations=100)
    (fastest,) = front.candidates
    assert fastest.metric is not None
    assert fastest.metric >= 0.8
    assert 0 < fastest.objectives[0] < 32 * PRICE.sum()


def test_a_candidate_without_a_finite_loss_does_not_keep_an_accuracy() -> None:
    broken = Measured(lambda plan: dict(plan.widths)["a"] < 32)
    front = search(broken, objectives=("latency",), least_metric=0.5)
    assert front.candidates
    assert all(dict(candidate.plan.widths)["a"] == 32 for candidate in front.candidates)


def test_neither_loss_nor_accuracy_leaves_nothing_to_search_for() -> None:
    with pytest.raises(RecipeError, match="smallest network is the answer"):
        search(Measured(), objectives=("latency", "size"))


def test_an_objective_without_a_table_says_which_are_left() -> None:
    with pytest.raises(TargetError) as caught:
        search(Measured(), objectives=("loss", "energy"))
    assert "energy" in caught.value.where
    assert "latency" in caught.value.hint


@pytest.mark.parametrize(("name", "near"), [("nsga4", "nsga3"), ("randon", "random")])
def test_an_unknown_algorithm_names_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UnknownNameError, match=f"Did you mean '{near}'") as caught:
        SearchSettings(algorithm=name)
    assert caught.value.exit_code == 2


def test_an_unknown_objective_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'latency'"):
        search(Measured(), objectives=("loss", "latenci"))


@pytest.mark.parametrize("setting", [{"population": 0}, {"evaluations": 0}])
def test_a_search_of_nothing_is_a_mistake_of_the_caller(setting: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least one plan"):
        SearchSettings(**setting)


def ticking(step: float) -> Callable[[], float]:
    """A clock that goes on by a step each time somebody looks at it."""
    times: Iterator[int] = iter(range(10**9))
    return lambda: step * next(times)


@pytest.mark.parametrize("way", ["nsga2", "nsga2, every plan measured", "random", "greedy"])
def test_a_spent_time_budget_ends_the_search_and_its_journal_repeats_it_whatever_the_clock_says(
    way: str, tmp_path: Path
) -> None:
    journal, measured = tmp_path / "losses.jsonl", Measured()
    front = search(measured, HALF, way=way, journal=journal, clock=ticking(1.0), time_budget_s=25.0)
    assert front.ended_by == "time"
    # The clock is looked at before and after a measurement: one second for each plan.
    assert front.evaluations == 25
    again = Measured()
    assert search(again, HALF, way=way, journal=journal, clock=ticking(100.0), time_budget_s=25.0) == front
    assert again.asked == []


def test_a_hypervolume_that_no_longer_grows_ends_the_search() -> None:
    way = "nsga2, every plan measured"
    patient = search(Measured(), HALF, way=way, evaluations=600, population=8)
    hasty = search(Measured(), HALF, way=way, evaluations=600, population=8, patience=3)
    volumes = [volume for _, volume in patient.history]
    stalled = next(i for i in range(3, len(volumes)) if volumes[i] <= 1.001 * volumes[i - 3])
    assert hasty.ended_by == "stalled"
    assert hasty.history == patient.history[: stalled + 1]
    assert len(hasty.history) < len(patient.history)
