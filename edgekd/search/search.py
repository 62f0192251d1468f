"""The width search: candidates are costed exactly, evaluated by slicing, kept on disk, and sorted by NSGA-II."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekd.errors import OutputError
from edgekd.records import Budget, Candidate, Generation, ParetoFront, Plan
from edgekd.search.front import make_front
from edgekd.search.nsga2 import Genes, hypervolume, minimize, non_dominated
from edgekd.search.sensitivity import greedy_plans, group_sensitivities
from edgekd.search.space import Widths, WidthSpace
from edgekd.store import write_text

Array = npt.NDArray[np.float64]
_UNIFORM_RATIOS = (1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25)
# The size model is right to about 0.2 %; half a percent of room keeps the real file within its budget.
_SIZE_MARGIN = 0.995


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanCosts:
    """What plans cost, one value per plan. Latency and energy are `None` where the target has no table."""

    size_bytes: npt.NDArray[np.int64]
    macs: npt.NDArray[np.int64]
    parameters: npt.NDArray[np.int64]
    latency_us: Array | None
    energy_uj: Array | None
    memory_bytes: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """How long to search: `evaluations` losses are measured at the most, `population` of them a generation."""

    evaluations: int = 192
    population: int = 24
    seed: int = 0


CostFunction = Callable[[Widths], PlanCosts]
LossFunction = Callable[[Plan], float]


def search_widths(
    space: WidthSpace,
    *,
    costs: CostFunction,
    loss: LossFunction,
    budgets: tuple[Budget, ...],
    settings: SearchSettings,
    journal: Path | None = None,
    on_progress: Callable[[int, int, float], None] = lambda _done, _total, _best: None,
    on_generation: Callable[[Generation], None] = lambda _generation: None,
) -> ParetoFront:
    """Return the front of loss, latency and energy (those the target has tables for) within the budgets.

    Every measured loss is appended to `journal` at once; a search started again with the same journal measures none of
    them again and, being seeded, comes to the same front by the same generations.
    """
    ledger = _Ledger(journal)
    uniform = np.stack([space.uniform(ratio) for ratio in _UNIFORM_RATIOS])
    smallest = np.zeros((1, len(space.choices)), dtype=np.int64)
    full = costs(space.widths(uniform[:1]))
    names = ("loss", *(n for n in ("latency_us", "energy_uj") if getattr(full, n) is not None))
    evaluations = _Evaluations(
        space=space,
        costs=costs,
        budgets=budgets,
        names=names,
        reference=_reference_point(space, full, names, loss, ledger),
        loss=lambda plan: ledger.loss(plan, loss),
        on_progress=lambda done, best: on_progress(done, settings.evaluations, best),
        on_generation=on_generation,
    )
    greedy = _greedy_candidates(space, costs, budgets, settings, evaluations)
    left = settings.evaluations - len(evaluations.seen)
    minimize(
        evaluations.generation,
        [len(choices) - 1 for choices in space.choices],
        initial=np.concatenate([greedy, uniform, smallest]),
        population=min(settings.population, left),
        generations=max(1, left // settings.population),
        objectives=len(names),
        constraints=max(1, len(budgets)),
        seed=settings.seed,
    )
    return make_front(
        list(evaluations.seen.values()),
        objective_names=names,
        reference_point=evaluations.reference,
        history=[(generation.evaluations, generation.hypervolume) for generation in evaluations.generations],
        seed=settings.seed,
    )


@dataclass(slots=True, kw_only=True)
class _Evaluations:
    """Candidates with their objectives, as they come in; probes of sensitivity belong to the first generation."""

    space: WidthSpace
    costs: CostFunction
    budgets: tuple[Budget, ...]
    names: tuple[str, ...]
    reference: tuple[float, ...]
    loss: LossFunction
    on_progress: Callable[[int, float], None]
    on_generation: Callable[[Generation], None]
    seen: dict[str, Candidate] = field(default_factory=dict)
    generations: list[Generation] = field(default_factory=list)

    def evaluate(self, genes: Genes) -> tuple[Array, Array]:
        """Return objectives `[plans, objectives]` and violations `[plans, budgets]`."""
        widths = self.space.widths(genes)
        cost = self.costs(widths)
        violations = _violations(cost, self.budgets)
        values = np.zeros((len(genes), len(self.names)))
        for row in range(len(genes)):
            plan = self.space.plan(widths[row])
            measured = self.loss(plan)
            measured = measured if math.isfinite(measured) else math.inf
            # NSGA-II sorts finite numbers; a loss that is not finite is worse than every real one.
            values[row, 0] = min(measured, 1e9)
            values[row, 1:] = [getattr(cost, name)[row] for name in self.names[1:]]
            self.seen[plan.id] = Candidate(
                plan=plan,
                objectives=(measured, *(float(v) for v in values[row, 1:])),
                violation=float(violations[row].max(initial=0.0)),
                size_bytes=int(cost.size_bytes[row]),
                memory_bytes=int(cost.memory_bytes[row]),
                macs=int(cost.macs[row]),
                parameters=int(cost.parameters[row]),
            )
            self.on_progress(len(self.seen), _best_loss(self.seen))
        return values, violations

    def generation(self, genes: Genes) -> tuple[Array, Array]:
        """Evaluate a generation and note what it brought."""
        result = self.evaluate(genes)
        before = self.generations[-1].evaluations if self.generations else 0
        generation = Generation(
            number=len(self.generations),
            candidates=tuple(self.seen.values())[before:],
            evaluations=len(self.seen),
            hypervolume=_hypervolume(self.seen, self.reference),
        )
        self.generations.append(generation)
        self.on_generation(generation)
        return result


def _greedy_candidates(
    space: WidthSpace,
    costs: CostFunction,
    budgets: tuple[Budget, ...],
    settings: SearchSettings,
    evaluations: _Evaluations,
) -> Genes:
    """Half a generation of plans made from one measurement a group; none if that would take all evaluations."""
    if settings.evaluations <= len(space.choices) + 1:  # the full network and one probe a group
        return np.empty((0, len(space.choices)), dtype=np.int64)
    return greedy_plans(
        space,
        group_sensitivities(space, lambda genes: float(evaluations.evaluate(genes[None])[0][0, 0])),
        lambda genes: _violations(costs(space.widths(genes)), budgets).max(axis=1),
        count=settings.population // 2,
        generator=np.random.default_rng(settings.seed),
    )


def _reference_point(
    space: WidthSpace, full: PlanCosts, names: tuple[str, ...], loss: LossFunction, ledger: _Ledger
) -> tuple[float, ...]:
    """Twice the full network's loss or a loss of 2.5, whichever is larger, and 1.05 times its costs."""
    measured = ledger.loss(space.plan(space.widths(space.uniform(1.0)[None])[0]), loss)
    worst = 2.0 * measured if math.isfinite(measured) else 0.0
    return (max(worst, 2.5), *(1.05 * float(getattr(full, name)[0]) for name in names[1:]))


def searched_limit(budget: Budget) -> float:
    """Return the limit the search obeys: a little less than a size budget, since sizes are predicted."""
    return budget.limit * (_SIZE_MARGIN if budget.quantity == "size_bytes" else 1.0)


def _violations(cost: PlanCosts, budgets: tuple[Budget, ...]) -> Array:
    """Return how far each plan is over each budget, as a share of it, `[plans, budgets]`; one empty column if none."""
    columns = [getattr(cost, budget.quantity) / searched_limit(budget) - 1.0 for budget in budgets]
    return np.stack(columns, axis=1) if columns else np.zeros((len(cost.size_bytes), 1))


def _hypervolume(seen: Mapping[str, Candidate], reference: tuple[float, ...]) -> float:
    points = np.array([c.objectives for c in seen.values() if c.violation <= 0 and np.isfinite(c.objectives).all()])
    if not len(points):
        return 0.0
    return hypervolume(points[non_dominated(points)], np.array(reference))


def _best_loss(seen: Mapping[str, Candidate]) -> float:
    return min((c.objectives[0] for c in seen.values() if c.violation <= 0), default=math.nan)


class _Ledger:
    """Measured losses by plan id, in memory and as JSON lines on disk."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.known: dict[str, float] = {}
        if path is None or not path.is_file():
            return
        text = path.read_text(encoding="utf-8", errors="replace")
        whole = []
        for line in text.splitlines():
            try:
                entry = json.loads(line)
                self.known[entry["plan"]] = float(entry["loss"])
            except (ValueError, KeyError, TypeError):
                # The run was killed while it wrote this line: the plan is simply measured again.
                continue
            whole.append(line + "\n")
        if text != "".join(whole):
            write_text(path, "".join(whole))

    def loss(self, plan: Plan, measure: LossFunction) -> float:
        if plan.id not in self.known:
            self.known[plan.id] = measure(plan)
            self._append({"plan": plan.id, "loss": self.known[plan.id]})
        return self.known[plan.id]

    def _append(self, entry: dict[str, object]) -> None:
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise OutputError(
                str(self.path), expected="room to write", found=str(error.strerror), hint="Free some space."
            ) from error
