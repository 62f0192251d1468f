"""Whatever a user freezes and ties, every plan that a search measures keeps to it, and its costs are right."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import rebuilt

from edgekd.errors import RecipeError
from edgekd.prune.groups import find_groups
from edgekd.recipe import ALGORITHM_NAMES
from edgekd.records import Budget, Plan
from edgekd.search.constraints import Constraints, constrain
from edgekd.search.costs import PlanCosts
from edgekd.search.ledger import Score
from edgekd.search.search import search_widths
from edgekd.search.settings import SearchSettings
from edgekd.search.space import Widths, count_operators, width_space
from edgekd.search.tables import CostTables, LinearOperators

NAMES = ("residual", "padded", "concat", "depthwise", "squeeze_excite", "flattened")


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, int, Constraints]:
    name = draw(st.sampled_from(NAMES))
    groups = [group.name for group in find_groups(rebuilt(name)).prunable]
    sets = st.lists(st.sampled_from(groups), unique=True, max_size=len(groups))
    tie = draw(sets)
    constraints = Constraints(
        freeze=tuple(draw(sets)[: len(groups) // 2]),
        ties=(",".join(tie),) if len(tie) > 1 else (),
        min_width=draw(st.sampled_from([0.0, 0.3, 0.5])),
    )
    return name, draw(st.sampled_from([1, 2, 4])), constraints


@given(cases(), st.integers(0, 3), st.floats(0.3, 1.0), st.sampled_from(ALGORITHM_NAMES), st.booleans())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
def test_every_measured_plan_keeps_the_constraints(
    case: tuple[str, int, Constraints], seed: int, share: float, algorithm: str, surrogate: bool
) -> None:
    name, multiple, constraints = case
    channels = find_groups(rebuilt(name))
    free = width_space(channels, multiple)
    try:
        space = constrain(free, channels.groups, constraints)
    except RecipeError:
        return  # nothing to search, which is told
    full = dict(channels.full_plan().widths)
    linear = LinearOperators.of(lambda w: count_operators(rebuilt(name), channels, w), len(space.names))
    tables = CostTables(linear, space.group_choices, {"macs": lambda operators: operators.macs})
    measured: list[Plan] = []

    def costs(widths: Widths) -> PlanCosts:
        macs = tables.look_up(widths)["macs"]
        assert np.array_equal(macs, count_operators(rebuilt(name), channels, widths).macs.sum(axis=1))
        count = macs.astype(np.int64)
        return PlanCosts(
            size_bytes=count, macs=count, parameters=count, latency_us=macs, energy_uj=None, memory_bytes=count
        )

    def measure(plan: Plan) -> Score:
        measured.append(plan)
        return Score(loss=sum((1 - width / full[group]) ** 2 for group, width in plan.widths))

    everything = np.array([[full[group] for group in space.names]])
    budget = Budget(quantity="size_bytes", limit=share * float(costs(everything).macs[0]))
    search_widths(
        space,
        costs=costs,
        measure=measure,
        budgets=(budget,),
        settings=SearchSettings(
            evaluations=30,
            population=8,
            seed=seed,
            algorithm=algorithm,
            surrogate=surrogate,
            surrogate_population=24,
            surrogate_generations=5,
        ),
    )
    tied = constraints.ties[0].split(",") if constraints.ties else []
    known = dict(zip(free.names, free.choices, strict=True))
    assert len(measured) >= 1
    for plan in measured:
        widths = dict(plan.widths)
        assert set(widths) == set(full)
        assert all(widths[group] == full[group] for group in constraints.freeze)
        assert len({Fraction(widths[group], full[group]) for group in tied}) <= 1
        assert all(width >= constraints.min_width * full[group] for group, width in widths.items())
        assert all(width in known[group] for group, width in widths.items())
