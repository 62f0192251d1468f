"""How to search: the settings of one search, resolved."""

from __future__ import annotations

from dataclasses import dataclass

from edgekd.errors import UnknownNameError
from edgekd.recipe import ALGORITHM_NAMES


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """How to search, and for how long.

    Attributes:
        evaluations: Plans whose loss is measured, at the most.
        population: Plans a generation.
        seed: Of everything random.
        algorithm: One of `edgekd.search.algorithms.ALGORITHMS`.
        objectives: Names of `edgekd.search.problem.OBJECTIVES`; none stands for those the target has tables for.
        surrogate: Whether NSGA-II and NSGA-III choose plans to measure by a predictor of the loss.
        surrogate_population: Plans a generation of NSGA-II or NSGA-III on predicted losses.
        surrogate_generations: Their number in each round.
        patience: Generations after which a hypervolume that has not grown ends the search; 0 for never.
        time_budget_s: Seconds after which no plan is measured any more; 0 for no limit.
        least_metric: What the metric on the search split has to reach, or `None`.
    """

    evaluations: int = 192
    population: int = 24
    seed: int = 0
    algorithm: str = "nsga2"
    objectives: tuple[str, ...] = ()
    surrogate: bool = True
    surrogate_population: int = 200
    surrogate_generations: int = 50
    patience: int = 0
    time_budget_s: float = 0.0
    least_metric: float | None = None

    def __post_init__(self) -> None:
        if self.evaluations < 1 or self.population < 1:
            raise ValueError("a search measures at least one plan a generation")
        if self.algorithm not in ALGORITHM_NAMES:
            raise UnknownNameError("recipe, algorithm", self.algorithm, ALGORITHM_NAMES)
