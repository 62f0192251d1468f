"""Measured candidates as they come in, generation by generation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from edgekd.records import Candidate, Generation
from edgekd.search.ledger import Ledger, Score
from edgekd.search.nsga import Genes
from edgekd.search.pareto import Array, hypervolume, non_dominated
from edgekd.search.problem import Problem
from edgekd.search.stopping import SearchEnded, StoppingRules
from edgekd.search.surrogate import prediction_quality


@dataclass(slots=True, kw_only=True)
class Evaluations:
    """What algorithms measure plans with; it ends the search when a rule says so.

    Attributes:
        problem: What is minimized and kept to.
        ledger: Measures plans.
        rules: When to end.
        on_progress: Called with the plans measured and the smallest loss within the budgets.
        on_generation: Called with each finished generation.
        seen: The candidates by the id of their plan, in the order they were measured.
        genes: Theirs.
        scores: Theirs.
        generations: The finished ones.
    """

    problem: Problem
    ledger: Ledger
    rules: StoppingRules
    on_progress: Callable[[int, float], None]
    on_generation: Callable[[Generation], None]
    seen: dict[str, Candidate] = field(default_factory=dict)
    genes: list[tuple[int, ...]] = field(default_factory=list)
    scores: dict[str, Score] = field(default_factory=dict)
    generations: list[Generation] = field(default_factory=list)
    reference: tuple[float, ...] = ()
    seconds: float = 0.0

    def begin(self) -> None:
        """Measure the full network, which sets the reference point."""
        self.measure(self.problem.genes(1.0))
        self.reference = self.problem.reference_point(next(iter(self.scores.values())))

    @property
    def left(self) -> int:
        """How many more plans may be measured."""
        return self.rules.evaluations - len(self.seen)

    def losses(self) -> Array:
        """Return the measured losses, `[seen]`."""
        return np.array([score.loss for score in self.scores.values()])

    def metrics(self) -> Array:
        """Return the measured metrics, `[seen]`, NaN where there is none."""
        return _metrics(list(self.scores.values()))

    def measure(self, genes: Genes) -> tuple[Array, Array]:
        """Return objectives `[plans, objectives]` and violations `[plans, constraints]`.

        Raises:
            SearchEnded: A limit came before the last of them; those before it are kept.
        """
        widths = self.problem.space.widths(genes)
        cost = self.problem.costs(widths)
        scores = []
        for row in range(len(genes)):
            plan = self.problem.space.plan(widths[row])
            if plan.id not in self.seen:
                self.rules.before_measuring(len(self.seen), self.seconds)
                score, seconds = self.ledger.score(plan)
                self.seconds += seconds
                self.scores[plan.id] = score
                self.genes.append(tuple(int(gene) for gene in genes[row]))
                self.seen[plan.id] = self._candidate(genes[row], score)
                self.on_progress(len(self.seen), self._best_loss())
            scores.append(self.scores[plan.id])
        losses = np.array([score.loss for score in scores])
        return self.problem.values(cost, losses), self.problem.violations(cost, _metrics(scores))

    def generation(self, genes: Genes, predicted: Array | None = None) -> tuple[Array, Array]:
        """Measure a generation and note what it brought; `predicted` are losses a surrogate expected, `[plans]`.

        Raises:
            SearchEnded: A rule has ended the search.
        """
        try:
            result = self.measure(genes)
        except SearchEnded:
            self.close(predicted)
            raise
        self.close(predicted)
        self.rules.after_generation([generation.hypervolume for generation in self.generations])
        return result

    def close(self, predicted: Array | None = None) -> None:
        """Finish a generation of everything measured since the last; of nothing, there is none."""
        before = self.generations[-1].evaluations if self.generations else 0
        if len(self.seen) == before:
            return
        quality = None
        if predicted is not None:
            measured = self.losses()[before:]
            quality = prediction_quality(predicted[: len(measured)], measured, trained_on=before)
        generation = Generation(
            number=len(self.generations),
            candidates=tuple(self.seen.values())[before:],
            evaluations=len(self.seen),
            hypervolume=self._hypervolume(),
            surrogate=quality,
        )
        self.generations.append(generation)
        self.on_generation(generation)

    def feasible_points(self) -> Array:
        """Return the objectives of the candidates within all constraints, `[candidates, objectives]`."""
        points = [c.objectives for c in self.seen.values() if c.violation <= 0 and np.isfinite(c.objectives).all()]
        return np.array(points).reshape(-1, len(self.problem.names))

    def _candidate(self, genes: Genes, score: Score) -> Candidate:
        cost = self.problem.cost(genes[None])
        values = self.problem.values(cost, np.array([score.loss]))[0]
        objectives = (
            score.loss if name == "loss" else float(v) for name, v in zip(self.problem.names, values, strict=True)
        )
        return Candidate(
            plan=self.problem.space.plan(self.problem.space.widths(genes[None])[0]),
            objectives=tuple(objectives),
            violation=float(self.problem.violations(cost, _metrics([score]))[0].max(initial=0.0)),
            size_bytes=int(cost.size_bytes[0]),
            memory_bytes=int(cost.memory_bytes[0]),
            macs=int(cost.macs[0]),
            parameters=int(cost.parameters[0]),
            loss=score.loss,
            metric=score.metric,
        )

    def _hypervolume(self) -> float:
        points = self.feasible_points()
        return hypervolume(points[non_dominated(points)], np.array(self.reference)) if len(points) else 0.0

    def _best_loss(self) -> float:
        kept = (score.loss for id_, score in self.scores.items() if self.seen[id_].violation <= 0)
        return min(kept, default=math.nan)


def _metrics(scores: list[Score]) -> Array:
    return np.array([math.nan if score.metric is None else score.metric for score in scores], dtype=np.float64)
