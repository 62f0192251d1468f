"""What a search minimizes and what it keeps to: objectives and constraints of plans, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from edgekd.errors import RecipeError, TargetError, UnknownNameError
from edgekd.records import Budget
from edgekd.search.costs import CostFunction, PlanCosts
from edgekd.search.ledger import Score
from edgekd.search.nsga import Genes
from edgekd.search.pareto import Array
from edgekd.search.space import WidthSpace

# Objectives by the names that recipes give them; all but the loss are exact costs.
OBJECTIVES = MappingProxyType(
    {
        "loss": "loss",
        "latency": "latency_us",
        "energy": "energy_uj",
        "size": "size_bytes",
        "memory": "memory_bytes",
        "macs": "macs",
        "parameters": "parameters",
    }
)
_DEFAULT = ("loss", "latency", "energy")
# The size model is right to about 0.2 %; half a percent of room keeps the real file within its budget.
_SIZE_MARGIN = 0.995
# NSGA-II sorts finite numbers: a loss that is not finite is worse than every real one, by this.
_WORST = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """The plans of a space with their objectives and constraints.

    Attributes:
        space: The widths.
        costs: What they cost.
        budgets: Upper bounds of costs.
        names: The objectives, as `loss`, `latency_us`, ...
        least_metric: What a plan's metric on the search split has to reach, or `None`.
    """

    space: WidthSpace
    costs: CostFunction
    budgets: tuple[Budget, ...]
    names: tuple[str, ...]
    least_metric: float | None = None

    def __post_init__(self) -> None:
        if "loss" not in self.names and self.least_metric is None:
            raise RecipeError(
                "recipe, objectives",
                expected="loss among them, or an accuracy to keep",
                found=", ".join(self.names),
                hint="Without either the smallest network is the answer. Add loss, or set min_search_accuracy.",
            )

    @property
    def upper(self) -> list[int]:
        """The largest value of each gene."""
        return [len(choices) - 1 for choices in self.space.choices]

    @property
    def constraints(self) -> int:
        """The number of columns of `violations`; an empty one if there are no constraints."""
        return max(1, len(self.budgets) + (self.least_metric is not None))

    def genes(self, *ratios: float) -> Genes:
        """Return the uniform scalings of these ratios, `[ratios, genes]`."""
        return np.stack([self.space.uniform(ratio) for ratio in ratios])

    def cost(self, genes: Genes) -> PlanCosts:
        """Return what plans cost."""
        return self.costs(self.space.widths(genes))

    def values(self, cost: PlanCosts, losses: Array) -> Array:
        """Return the objectives `[plans, objectives]`; a loss that is not finite counts as a very large one."""
        finite = np.where(np.isfinite(losses), losses, _WORST)
        columns = [finite if name == "loss" else getattr(cost, name) for name in self.names]
        return np.stack(columns, axis=1).astype(np.float64)

    def excess(self, cost: PlanCosts) -> Array:
        """Return how far each plan is over each budget, as a share of it, `[plans, budgets]`."""
        columns = [getattr(cost, budget.quantity) / searched_limit(budget) - 1.0 for budget in self.budgets]
        return np.stack(columns, axis=1) if columns else np.zeros((len(cost.macs), 0))

    def violations(self, cost: PlanCosts, metrics: Array) -> Array:
        """Return the excess over budgets and what the metrics fall short of, `[plans, constraints]`."""
        columns = self.excess(cost)
        if self.least_metric is not None:
            short = np.where(np.isfinite(metrics), self.least_metric - metrics, _WORST)
            columns = np.hstack([columns, short[:, None]])
        return columns if columns.shape[1] else np.zeros((len(metrics), 1))

    def reference_point(self, full: Score) -> tuple[float, ...]:
        """Return twice the full network's loss or a loss of 2.5, whichever is larger, and 1.05 times its costs."""
        cost = self.cost(self.genes(1.0))
        worst = max(2.0 * full.loss if np.isfinite(full.loss) else 0.0, 2.5)
        return tuple(worst if name == "loss" else 1.05 * float(getattr(cost, name)[0]) for name in self.names)


def searched_limit(budget: Budget) -> float:
    """Return the limit the search obeys: a little less than a size budget, since sizes are predicted."""
    return budget.limit * (_SIZE_MARGIN if budget.quantity == "size_bytes" else 1.0)


def objective_quantities(wanted: Sequence[str], known: PlanCosts) -> tuple[str, ...]:
    """Return the quantities to minimize, by the names that recipes give them.

    Args:
        wanted: The names; none stands for the loss, and latency and energy where the target has tables.
        known: What some plans cost: `None` is what the target has no table for.

    Raises:
        UnknownNameError: There is no such objective.
        TargetError: The target has no table for it.
    """
    for name in wanted:
        if name not in OBJECTIVES:
            raise UnknownNameError("recipe, objectives", name, OBJECTIVES)
    missing = [name for name in OBJECTIVES if name != "loss" and getattr(known, OBJECTIVES[name]) is None]
    refused = [name for name in wanted if name in missing]
    if refused:
        raise TargetError(
            f"recipe, objectives, {refused[0]}",
            expected="an objective that the target has a table for",
            found="a target without",
            hint=f"Choose among {', '.join(name for name in OBJECTIVES if name not in missing)}.",
        )
    return tuple(OBJECTIVES[name] for name in wanted or _DEFAULT if name not in missing)
