from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd.errors import OutputError
from edgekd.records import Budget, Generation, ParetoFront, Plan
from edgekd.search.costs import PlanCosts
from edgekd.search.front import choose, front_document
from edgekd.search.ledger import Score
from edgekd.search.search import search_widths
from edgekd.search.settings import SearchSettings
from edgekd.search.space import Widths, WidthSpace

SPACE = WidthSpace(names=("a", "b", "c"), choices=((8, 16, 24, 32), (8, 16, 24, 32), (8, 16, 24, 32, 40, 48)))
FULL = 32 + 32 + 48
QUICK = {"surrogate_population": 24, "surrogate_generations": 8}
SETTINGS = SearchSettings(evaluations=60, population=12, seed=0, **QUICK)
SIZE = Budget(quantity="size_bytes", limit=7_000.0)
LATENCY = Budget(quantity="latency_us", limit=400.0)
MEMORY = Budget(quantity="memory_bytes", limit=64 * 48.0)


def costs(widths: Widths) -> PlanCosts:
    """100 bytes a channel; 10 us a channel of `a`, 2 of the others; 64 bytes for each of `a` and the wider other."""
    return PlanCosts(
        size_bytes=100 * widths.sum(axis=1),
        macs=widths.prod(axis=1),
        parameters=widths.sum(axis=1),
        latency_us=(widths * np.array([10.0, 2.0, 2.0])).sum(axis=1),
        energy_uj=None,
        memory_bytes=64 * (widths[:, 0] + widths[:, 1:].max(axis=1)),
    )


class Loss:
    """A loss that falls with every width, and counts the plans it was asked for."""

    def __init__(self, special: Callable[[int, Plan], float | None] = lambda _call, _plan: None) -> None:
        self.asked: list[str] = []
        self._special = special

    def measure(self, plan: Plan) -> Score:
        return Score(loss=self(plan))

    def __call__(self, plan: Plan) -> float:
        given = self._special(len(self.asked) + 1, plan)
        self.asked.append(plan.id)
        if given is not None:
            return given
        widths = dict(plan.widths)
        return 0.3 + (1 - widths["a"] / 32) ** 2 + 0.5 * (1 - widths["b"] / 32) ** 2 + (1 - widths["c"] / 48) ** 2


def search(loss: Loss, *budgets: Budget, settings: SearchSettings = SETTINGS, **options: Any) -> ParetoFront:
    return search_widths(SPACE, costs=costs, measure=loss.measure, budgets=budgets, settings=settings, **options)


@pytest.mark.parametrize(
    "budgets",
    [(), (SIZE,), (LATENCY,), (MEMORY,), (SIZE, LATENCY, MEMORY)],
    ids=["none", "size", "latency", "memory", "all"],
)
def test_everything_on_the_front_keeps_every_budget(budgets: tuple[Budget, ...]) -> None:
    front = search(Loss(), *budgets)
    assert front.candidates
    assert front.objective_names == ("loss", "latency_us")
    for candidate in front.candidates:
        assert candidate.violation <= 0
        for budget in budgets:
            actual = {
                "size_bytes": candidate.size_bytes,
                "latency_us": candidate.objectives[1],
                "memory_bytes": candidate.memory_bytes,
            }[budget.quantity]
            assert actual <= budget.limit


def test_without_a_budget_the_full_network_is_chosen_and_with_one_the_search_comes_near_the_best_plan() -> None:
    every = SPACE.widths(np.array([[a, b, c] for a in range(4) for b in range(4) for c in range(6)]))
    assert dict(choose(search(Loss())).plan.widths) == {"a": 32, "b": 32, "c": 48}
    loss = Loss()
    best = min(loss(SPACE.plan(w)) for w in every[costs(every).size_bytes <= 0.995 * SIZE.limit])
    assert choose(search(Loss(), SIZE)).objectives[0] <= best + 0.05


def test_no_loss_is_measured_twice_and_no_more_than_the_settings_allow() -> None:
    loss = Loss()
    front = search(loss, SIZE)
    assert len(loss.asked) == len(set(loss.asked)) == front.evaluations <= SETTINGS.evaluations


@pytest.mark.parametrize("evaluations", [1, 5, 12, 13, 30])
def test_few_evaluations_are_kept_to_even_when_they_are_less_than_a_generation(evaluations: int) -> None:
    loss = Loss()
    search(loss, settings=SearchSettings(evaluations=evaluations, population=12, seed=0, **QUICK))
    assert 1 <= len(loss.asked) <= evaluations


def test_the_history_counts_evaluations_and_its_hypervolume_never_falls() -> None:
    front = search(Loss(), SIZE)
    counts, volumes = zip(*front.history, strict=True)
    assert list(counts) == sorted(counts)
    assert counts[-1] == front.evaluations
    assert list(volumes) == sorted(volumes)
    assert volumes[-1] == pytest.approx(front.hypervolume)
    # Twice the full network's loss of 0.3 is below 2.5; 1.05 times its 320 + 64 + 96 us.
    assert front.reference_point == (2.5, pytest.approx(1.05 * 480))


def test_a_seed_gives_one_front_and_another_seed_another_search() -> None:
    first, second = Loss(), Loss()
    assert search(first, SIZE) == search(second, SIZE)
    assert first.asked == second.asked
    third = Loss()
    search(third, SIZE, settings=SearchSettings(evaluations=60, population=12, seed=1, **QUICK))
    assert third.asked != first.asked


def test_a_finished_search_is_repeated_from_its_journal_without_measuring_anything(tmp_path: Path) -> None:
    journal = tmp_path / "search" / "losses.jsonl"
    first = search(Loss(), SIZE, journal=journal)
    again = Loss()
    assert search(again, SIZE, journal=journal) == first
    assert again.asked == []


def test_the_journal_has_one_json_line_for_each_measured_loss(tmp_path: Path) -> None:
    journal = tmp_path / "losses.jsonl"
    loss = Loss()
    search(loss, SIZE, journal=journal)
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [entry["plan"] for entry in entries] == loss.asked


@pytest.mark.parametrize("killed_at", [1, 2, 13, 37])
def test_an_interrupted_search_goes_on_to_the_same_front_and_measures_only_what_is_left(
    tmp_path: Path, killed_at: int
) -> None:
    whole = Loss()
    uninterrupted = search(whole, SIZE, LATENCY)

    def interrupt(call: int, _plan: Plan) -> None:
        if call == killed_at:
            raise KeyboardInterrupt

    journal = tmp_path / "losses.jsonl"
    with pytest.raises(KeyboardInterrupt):
        search(Loss(interrupt), SIZE, LATENCY, journal=journal)
    rest = Loss()
    assert search(rest, SIZE, LATENCY, journal=journal) == uninterrupted
    assert rest.asked == whole.asked[killed_at - 1 :]


@pytest.mark.parametrize(
    "tear",
    [
        lambda raw: raw[:-9],
        lambda raw: raw[:-1],
        lambda raw: raw + b'{"plan": "ab',
        lambda raw: raw[:-9] + b"\xff\x00",
        lambda raw: raw + b"[]\n",
        lambda raw: raw + b'{"plan": "abc", "loss": "x"}\n',
    ],
    ids=["within the last number", "before the newline", "within a new line", "no text", "no entry", "no number"],
)
def test_a_torn_line_of_the_journal_costs_at_most_its_own_measurement_and_the_file_is_whole_again(
    tmp_path: Path, tear: Callable[[bytes], bytes]
) -> None:
    journal = tmp_path / "losses.jsonl"
    first = search(Loss(), SIZE, journal=journal)
    journal.write_bytes(tear(journal.read_bytes()))
    again = Loss()
    assert search(again, SIZE, journal=journal) == first
    assert len(again.asked) <= 1
    lines = journal.read_text(encoding="utf-8").splitlines()
    assert len({json.loads(line)["plan"] for line in lines}) == len(lines) == first.evaluations


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf], ids=str)
def test_a_loss_that_is_not_finite_is_kept_off_the_front_and_ends_nothing(tmp_path: Path, bad: float) -> None:
    def breaks(_call: int, plan: Plan) -> float | None:
        return bad if dict(plan.widths)["a"] == 16 else None

    journal = tmp_path / "losses.jsonl"
    loss = Loss(breaks)
    front = search(loss, SIZE, journal=journal)
    assert front.candidates
    assert all(dict(candidate.plan.widths)["a"] != 16 for candidate in front.candidates)
    assert all(math.isfinite(volume) for _, volume in front.history)
    json.dumps(front_document(front), allow_nan=False)
    again = Loss(breaks)
    assert search(again, SIZE, journal=journal) == front
    assert again.asked == []


def test_a_full_network_whose_loss_is_not_finite_still_leaves_a_usable_front() -> None:
    def breaks(_call: int, plan: Plan) -> float | None:
        return math.nan if dict(plan.widths) == {"a": 32, "b": 32, "c": 48} else None

    front = search(Loss(breaks))
    json.dumps(front_document(front), allow_nan=False)
    assert front.hypervolume > 0


def test_progress_counts_up_to_the_evaluations() -> None:
    calls: list[tuple[int, int, float]] = []
    search_widths(
        SPACE,
        costs=costs,
        measure=Loss().measure,
        budgets=(SIZE,),
        settings=SETTINGS,
        on_progress=lambda done, total, best: calls.append((done, total, best)),
    )
    done = [call[0] for call in calls]
    assert done == sorted(done)
    assert {call[1] for call in calls} == {SETTINGS.evaluations}
    best = [call[2] for call in calls if not math.isnan(call[2])]
    assert best == sorted(best, reverse=True)


def test_a_journal_that_cannot_be_written_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError) as caught:
        search(Loss(), journal=tmp_path / "file" / "losses.jsonl")
    assert caught.value.where == str(tmp_path / "file" / "losses.jsonl")


def test_every_candidate_is_new_in_one_generation_and_the_last_one_knows_them_all() -> None:
    generations: list[Generation] = []
    front = search(Loss(), SIZE, on_generation=generations.append)
    assert [generation.number for generation in generations] == list(range(len(front.history)))
    plans = [candidate.plan.id for generation in generations for candidate in generation.candidates]
    assert len(plans) == len(set(plans)) == generations[-1].evaluations == front.evaluations
    assert {candidate.plan.id for candidate in front.candidates} <= set(plans)
