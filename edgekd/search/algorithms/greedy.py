"""Greedy importance: one measurement a group, and the plans of one descent from the full network."""

from __future__ import annotations

from edgekd.search.evaluations import Evaluations
from edgekd.search.first import descent, sensitivities, spread
from edgekd.search.settings import SearchSettings


def greedy(evaluations: Evaluations, settings: SearchSettings) -> None:  # noqa: ARG001  (the form of all algorithms)
    """Measure each group halved alone, then plans spread along the descent these lead to, within the budgets."""
    path = descent(evaluations.problem, sensitivities(evaluations))
    evaluations.generation(spread(path, max(1, evaluations.left)))
