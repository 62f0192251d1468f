"""The training loss of a phase: the task's own and the terms of the recipe, weighted, scheduled and told apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from edgekd.distill.capture import captured
from edgekd.distill.losses import Seen
from edgekd.distill.schedules.balance import GradientBalance, curriculum_weights
from edgekd.distill.schedules.temperature import ConstantTemperature
from edgekd.distill.terms import Features, PlacedTerm, place_terms
from edgekd.errors import RecipeError
from edgekd.records.distillation import OWN_LOSS, Choice, Term, weight_of
from edgekd.tasks import Task

Inputs = tuple[torch.Tensor, ...]
Run = Callable[[nn.Module, Inputs], torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """The loss of a batch, a scalar with a gradient, and what it is made of, by the label of each term."""

    total: torch.Tensor
    losses: dict[str, float]
    weights: dict[str, float]
    temperatures: dict[str, float]

    def culprit(self) -> str:
        """Return the first term that is not finite, or the whole."""
        return next((label for label, loss in self.losses.items() if not math.isfinite(loss)), "the sum")

    def scalars(self) -> dict[str, float]:
        """Return everything as TensorBoard shows it."""
        groups = (("loss", self.losses), ("weight", self.weights), ("temperature", self.temperatures))
        return {f"{group}/{label}": value for group, values in groups for label, value in values.items()}


def make_objective(
    terms: Sequence[Term], soft_weight: float, temperature: float, task: Task, *, balance: bool, curriculum: bool
) -> Objective:
    """Return the objective of a recipe's terms.

    A task whose targets are the teacher's outputs has no loss of its own; terms without a weight then have all of it.

    Raises:
        RecipeError: The terms that are left have no weight, or an option has a value it cannot have.
        UnknownNameError: A loss, schedule, adapter or option is not known.
    """
    if task.source == "teacher":
        terms, soft_weight = [term for term in terms if term.loss.name != OWN_LOSS], 1.0
    weights = [weight_of(term, soft_weight) for term in terms]
    if sum(weights) <= 0:
        raise RecipeError(
            "recipe, distill",
            expected=f"a distillation loss with a weight above 0, for the task '{task.name}'",
            found=", ".join(f"'{term.loss.name}' {weight:g}" for term, weight in zip(terms, weights, strict=True))
            or "none",
            hint="docs/distillation.md has examples.",
        )
    return Objective(terms, weights, temperature, task, balance=balance, curriculum=curriculum)


def own_objective(task: Task) -> Objective:
    """Return the objective of training without a teacher: the task's own loss."""
    return Objective((Term(loss=Choice(OWN_LOSS)),), (1.0,), 1.0, task)


class Objective(nn.Module):
    """The loss of a phase. Its adapters are trained with the student; its queues and averages are its buffers.

    Args:
        terms: Of the recipe.
        weights: One for each term.
        temperature: For the terms that have none.
        task: The losses of outputs.
        balance: Whether gradients are balanced.
        curriculum: Whether easy examples come first.
    """

    def __init__(
        self,
        terms: Sequence[Term],
        weights: Sequence[float],
        temperature: float,
        task: Task,
        *,
        balance: bool = False,
        curriculum: bool = False,
    ) -> None:
        super().__init__()
        self.terms = nn.ModuleList(place_terms(terms, weights, temperature))
        self.task, self.curriculum = task, curriculum
        self.balance = GradientBalance(len(terms)) if balance else None
        self.capacity = 1.0

    def placed(self) -> list[PlacedTerm]:
        """Return the terms."""
        return [term for term in self.terms if isinstance(term, PlacedTerm)]

    def build(self, student: nn.Module, teacher: nn.Module, run: Run, inputs: tuple[Inputs, Inputs], seed: int) -> None:
        """Choose layers, and make the adapters for what both networks give for an example batch.

        The networks are left in evaluation mode, with nothing learned from the batch.

        Args:
            student: The network in training.
            teacher: What it is compared with.
            run: Returns a network's outputs.
            inputs: Of the student and of the teacher, for the same examples.
            seed: Of the adapters' weights.
        """
        sizes = [sum(p.numel() for p in network.parameters()) for network in (student, teacher)]
        self.capacity = sizes[0] / max(1, sizes[1])
        for term in self.placed():
            term.put(teacher, student, self.capacity)
        reading = [term for term in self.placed() if term.reads_features]
        if not reading:
            return
        with torch.no_grad(), self.watching(student, teacher) as (ours, theirs):
            outputs = run(student.eval(), inputs[0]), run(teacher, inputs[1])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for term in reading:
                term.build(
                    [term.side(outputs[0], ours, i, is_teacher=False) for i in range(len(term.places))],
                    [term.side(outputs[1], theirs, i, is_teacher=True) for i in range(len(term.places))],
                )

    @contextmanager
    def watching(self, student: nn.Module, teacher: nn.Module) -> Iterator[tuple[Features, Features]]:
        """Fill two dictionaries with the features that the terms read, at every forward pass within the block."""
        pairs = {pair for term in self.placed() for places in term.places for pair in places}
        with (
            captured(student, sorted({pair.student for pair in pairs}), "student layer") as ours,
            captured(teacher, sorted({pair.teacher for pair in pairs}), "teacher layer") as theirs,
        ):
            yield ours, theirs

    def evaluate(
        self,
        outputs: tuple[torch.Tensor, torch.Tensor],
        features: tuple[Features, Features],
        targets: torch.Tensor,
        progress: float,
        parameters: Sequence[torch.Tensor],
    ) -> Value:
        """Return the loss of a batch.

        Args:
            outputs: Of the student and of the teacher, `[batch, ...]`.
            features: What `watching` gave for both.
            targets: `[batch, ...]`.
            progress: Share of the training that is over, from 0 to 1.
            parameters: The student's, whose gradients are balanced.
        """
        seen: list[tuple[str, torch.Tensor]] = []
        losses: dict[str, float] = {}
        weights: dict[str, float] = {}
        temperatures: dict[str, float] = {}
        for term in self.placed():
            factors = term.factors(progress, self.capacity)
            weight = term.weight * sum(factors) / len(factors)
            weights[term.label] = weight
            if weight == 0.0:
                continue
            values, temperature = self._term(term, factors, outputs, features, targets, progress)
            if temperature is not None:
                temperatures[term.label] = temperature
            losses[term.label] = float(values.detach().mean())
            seen.append((term.label, values))
        if self.balance is not None:
            self._rebalance(weights, dict(seen), parameters)
        if not seen:
            return Value(total=outputs[0].sum() * 0.0, losses=losses, weights=weights, temperatures=temperatures)
        total = sum((weights[label] * values for label, values in seen[1:]), weights[seen[0][0]] * seen[0][1])
        if self.curriculum:
            total = total * self._example_weights(outputs, targets, progress)
        return Value(total=total.mean(), losses=losses, weights=weights, temperatures=temperatures)

    def _term(
        self,
        term: PlacedTerm,
        factors: list[float],
        outputs: tuple[torch.Tensor, torch.Tensor],
        features: tuple[Features, Features],
        targets: torch.Tensor,
        progress: float,
    ) -> tuple[torch.Tensor, float | None]:
        """Return a term's loss, `[batch]`, the mean of its places, and its temperature if it may have one."""
        if term.is_own:
            return self.task.loss(outputs[0], targets), None
        temperature = term.temperature
        if not isinstance(term.temperature_schedule, ConstantTemperature):
            temperature = term.temperature_schedule.at(temperature, progress, self._student_loss(outputs, targets))
        values = []
        for index, factor in enumerate(factors):
            sides = [term.side(outputs[k], features[k], index, is_teacher=bool(k)) for k in (0, 1)]
            seen = Seen(student=sides[0], teacher=sides[1], targets=targets, temperature=temperature, task=self.task)
            values.append(term.at(index, seen) * (factor * len(factors) / sum(factors)))
        mean = values[0] if len(values) == 1 else torch.stack(values).mean(0)
        return mean, None if term.reads_features else temperature

    def _student_loss(self, outputs: tuple[torch.Tensor, torch.Tensor], targets: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            if self.task.source == "teacher":
                return self.task.distillation(outputs[0], outputs[1], 1.0).mean()
            return self.task.loss(outputs[0], targets).mean()

    def _example_weights(
        self, outputs: tuple[torch.Tensor, torch.Tensor], targets: torch.Tensor, progress: float
    ) -> torch.Tensor:
        """Weigh examples by the teacher's own loss; where it is the target, by the student's distance from it."""
        with torch.no_grad():
            if self.task.source == "teacher":
                return curriculum_weights(self.task.distillation(outputs[0], outputs[1], 1.0), progress)
            return curriculum_weights(self.task.loss(outputs[1], targets), progress)

    def _rebalance(
        self, weights: dict[str, float], values: dict[str, torch.Tensor], parameters: Sequence[torch.Tensor]
    ) -> None:
        assert self.balance is not None  # the caller has looked
        nothing = torch.zeros(())
        means = [values[label].mean() if label in values else nothing for label in weights]
        for label, factor in zip(weights, self.balance.factors(means, parameters), strict=True):
            weights[label] *= factor
