from __future__ import annotations

import math

import pytest
import torch

from edgekd.distill.options import construct
from edgekd.distill.schedules import SCHEDULES, TEMPERATURES, Moment
from edgekd.distill.schedules.balance import GradientBalance, curriculum_weights
from edgekd.errors import RecipeError, UnknownNameError


def factor(name: str, progress: float, options: dict[str, float] | None = None, **moment: object) -> float:
    schedule = construct(SCHEDULES.load(name, "test"), options or {}, "test")
    return schedule.factor(Moment(progress=progress, **moment))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("constant", {}, (1.0, 1.0, 1.0)),
        ("linear", {}, (1.0, 0.5, 0.0)),
        ("linear", {"start": 0.2, "end": 1.0}, (0.2, 0.6, 1.0)),
        ("cosine", {}, (1.0, 0.5, 0.0)),
        ("cosine", {"start": 0, "end": 2}, (0.0, 1.0, 2.0)),
    ],
)
def test_schedules_of_time_at_begin_middle_and_end(
    name: str, options: dict[str, float], expected: tuple[float, ...]
) -> None:
    assert [factor(name, p, options) for p in (0.0, 0.5, 1.0)] == pytest.approx(expected)


def test_a_cosine_is_slow_at_both_ends() -> None:
    assert factor("cosine", 0.1) == pytest.approx(0.5 * (1 + math.cos(0.1 * math.pi)))
    assert factor("cosine", 0.1) > 0.97


def test_hints_fall_from_one_to_a_fifth_and_outputs_have_the_rest() -> None:
    for progress, hints in ((0.0, 1.0), (0.25, 0.8), (0.5, 0.6), (1.0, 0.2)):
        assert factor("hint-first", progress, is_of_features=True) == pytest.approx(hints)
        assert factor("hint-first", progress) == pytest.approx(1.0 - hints)


def test_each_kind_of_loss_has_its_depth() -> None:
    depths = {"shallow": 3 / 8, "middle": 5 / 8, "deep": 7 / 8}
    for suits in depths:
        found = {d: factor("by-depth", 0.0, is_of_features=True, suits=suits, depth=at) for d, at in depths.items()}
        assert found == {d: float(d == suits) for d in depths}
    assert factor("by-depth", 0.0, depth=1.0) == 1.0  # outputs


def test_capacity_gives_small_students_outputs_and_large_ones_features() -> None:
    for ratio in (0.1, 0.5, 0.9):
        share = 1 / (1 + math.exp(-6 * (ratio - 0.5)))
        assert factor("capacity", 0.0, is_of_features=True, capacity=ratio) == pytest.approx(share)
        assert factor("capacity", 0.0, capacity=ratio) == pytest.approx(1 - share)


@pytest.mark.parametrize("name", SCHEDULES.names())
def test_no_schedule_is_negative(name: str) -> None:
    for progress in (0.0, 0.3, 1.0):
        for is_of_features in (True, False):
            assert factor(name, progress, is_of_features=is_of_features, capacity=0.3) >= 0.0


def temperature(name: str, losses: list[float], **options: float) -> list[float]:
    schedule = construct(TEMPERATURES.load(name, "test"), options, "test")
    steps = max(1, len(losses) - 1)
    return [schedule.at(4.0, i / steps, torch.tensor(loss)) for i, loss in enumerate(losses)]


def test_temperatures_stay_or_fall_along_a_cosine() -> None:
    assert temperature("constant", [1.0, 9.0]) == [4.0, 4.0]
    assert temperature("cosine", [1.0, 1.0, 1.0]) == pytest.approx([4.0, 2.5, 1.0])
    assert temperature("cosine", [1.0, 1.0, 1.0], end=2) == pytest.approx([4.0, 3.0, 2.0])


def test_an_adaptive_temperature_follows_the_average_loss_within_its_bounds() -> None:
    # Averages with a decay of 0.5: 2, then (2 + 1) / 2, then (1.5 + 0) / 2.
    assert temperature("adaptive", [2.0, 1.0, 0.0], decay=0.5) == pytest.approx([4.0, 3.0, 1.5])
    assert temperature("adaptive", [2.0, 0.0], decay=0.0) == [4.0, 1.0]
    assert temperature("adaptive", [1.0, 100.0], decay=0.0, high=6) == [4.0, 6.0]


def test_balance_gives_every_term_the_mean_gradient() -> None:
    weight = torch.tensor([1.0, 1.0], requires_grad=True)
    terms = [(weight * torch.tensor([3.0, 4.0])).sum(), (weight * torch.tensor([0.0, 1.0])).sum()]
    # Norms 5 and 1, mean 3.
    assert GradientBalance(2).factors(terms, [weight]) == pytest.approx([3 / 5, 3.0])


def test_balance_measures_every_so_many_steps_and_averages() -> None:
    weight = torch.tensor([1.0], requires_grad=True)
    balance = GradientBalance(2, every=2, decay=0.5)

    def factors(first: float, second: float) -> list[float]:
        return balance.factors([(weight * first).sum(), (weight * second).sum()], [weight])

    assert factors(1.0, 1.0) == pytest.approx([1.0, 1.0])
    assert factors(9.0, 1.0) == pytest.approx([1.0, 1.0])  # not measured
    # Averages of 1 and 3, 1 and 1: 2 and 1, mean 1.5.
    assert factors(3.0, 1.0) == pytest.approx([0.75, 1.5])


def test_a_term_without_gradient_keeps_its_weight_and_factors_are_bounded() -> None:
    weight = torch.tensor([1.0], requires_grad=True)
    assert GradientBalance(2).factors([weight.sum() * 5, torch.tensor(1.0)], [weight]) == [1.0, 1.0]
    far = GradientBalance(2).factors([weight.sum() * 1e6, weight.sum() * 1e-6], [weight])
    assert far == pytest.approx([0.5, 100.0], rel=1e-6)


def test_easy_examples_come_first_and_all_count_from_half_way_on() -> None:
    difficulty = torch.tensor([0.9, 0.1, 0.5, 0.3, 0.7, 0.2, 0.8, 0.4, 0.6, 1.0])
    first = curriculum_weights(difficulty, 0.0)
    # 3 of 10, the easiest, with a mean weight of 1 over all.
    assert [i for i, w in enumerate(first.tolist()) if w] == [1, 3, 5]
    assert first.mean() == pytest.approx(1.0)
    assert int((curriculum_weights(difficulty, 0.25) > 0).sum()) == 6  # 0.3 + 0.7 / 2 is 0.65
    for progress in (0.5, 0.7, 1.0):
        assert curriculum_weights(difficulty, progress).tolist() == [1.0] * 10


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("linear", {"start": -1.0}, "at least 0"),
        ("hint-first", {"start": 2.0}, "from 0 to 1"),
        ("by-depth", {"shallow": 0.9}, "shallow <= deep"),
        ("linear", {"end": "low"}, "a value like 0.0"),
    ],
)
def test_an_option_out_of_range_is_a_recipe_error(name: str, options: dict[str, float], expected: str) -> None:
    with pytest.raises(RecipeError, match=expected):
        factor(name, 0.0, options)


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'cosine'"):
        factor("cosin", 0.0)
    with pytest.raises(UnknownNameError, match="Did you mean 'end'"):
        factor("linear", 0.0, {"ends": 0.1})
