"""A recipe's terms as modules: each loss with its schedules, and an adapter at every place it reads."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from edgekd.distill.adapters import Adapter, make_adapter
from edgekd.distill.capture import Pair, depth_of, place
from edgekd.distill.losses import Loss, Seen, Side, make_loss
from edgekd.distill.options import construct
from edgekd.distill.schedules import SCHEDULES, TEMPERATURES, Moment, Schedule, Temperature
from edgekd.errors import RecipeError
from edgekd.records.distillation import OWN_LOSS, Choice, Term

Features = dict[str, torch.Tensor]
_PROBES = (0.0, 0.5, 1.0)


class PlacedTerm(nn.Module):
    """One term at all of its places, each a pair of layers or several, with losses and adapters of its own."""

    temperature_schedule: Temperature

    def __init__(self, term: Term, label: str, weight: float, temperature: float) -> None:
        super().__init__()
        self.term, self.label, self.weight, self.temperature = term, label, weight, temperature
        self.where = f"distill term '{label}'"
        self.schedule: Schedule = construct(
            SCHEDULES.load(term.schedule.name, f"{self.where}, schedule"),
            dict(term.schedule.options),
            f"{self.where}, schedule '{term.schedule.name}'",
        )
        self.temperature_schedule = construct(
            TEMPERATURES.load(term.temperature_schedule.name, f"{self.where}, temperature_schedule"),
            dict(term.temperature_schedule.options),
            f"{self.where}, temperature_schedule '{term.temperature_schedule.name}'",
        )
        self.is_own = term.loss.name == OWN_LOSS
        self.losses, self.adapters = nn.ModuleList(), nn.ModuleList()
        self.places: list[tuple[Pair, ...]] = [()]
        self.depths = [1.0]
        if not self.is_own:
            self.losses.append(self._loss())
            _check_layers(term, self.where, self.prototype)
            self._adapter()

    @property
    def prototype(self) -> Loss:
        """The loss at the first place."""
        loss = self.losses[0]
        assert isinstance(loss, Loss)  # what `_loss` makes
        return loss

    @property
    def reads_features(self) -> bool:
        """Whether layers or outputs are read as features."""
        return not self.is_own and self.prototype.reads != "outputs"

    def put(self, teacher: nn.Module, student: nn.Module, capacity: float) -> None:
        """Choose the places between two networks.

        Raises:
            UnknownNameError: A layer of the recipe is not there.
            RecipeError: There are too few layers, or none at a depth where the schedule wants the loss.
        """
        layers = self.term.layers
        if not self.reads_features or layers == "outputs":
            return
        pairs = place(teacher, student) if isinstance(layers, str) else tuple(Pair(*names) for names in layers)
        reads = self.prototype.reads
        places: list[tuple[Pair, ...]] = [(pair,) for pair in pairs]
        if reads == "consecutive":
            places = list(pairwise(pairs))
        elif reads == "last" and layers == "auto":
            places = places[-1:]
        depths = [depth_of(teacher, found[-1].teacher) for found in places]
        wanted = [i for i, depth in enumerate(depths) if any(self._factor(p, depth, capacity) for p in _PROBES)]
        if not wanted:
            raise RecipeError(
                self.where,
                expected="a layer to read at the depth its schedule wants it" if places else "two pairs of layers",
                found=f"{len(pairs)}: {', '.join(map(str, pairs))}",
                hint="Name pairs of layers in the recipe, or choose another schedule.",
            )
        self.places, self.depths = [places[i] for i in wanted], [depths[i] for i in wanted]

    def build(self, student: Sequence[Side], teacher: Sequence[Side]) -> None:
        """Make losses and adapters for the features of an example batch, a side for each place."""
        losses = [self.prototype, *(self._loss() for _ in self.places[1:])]
        for loss, ours, theirs in zip(losses, student, teacher, strict=True):
            adapters = [self._adapter() for _ in ours.features]
            adapted = []
            for adapter, x, y in zip(adapters, ours.features, theirs.features, strict=True):
                adapter.build(x, y)
                adapted.append(adapter(x))
            loss.build(tuple(adapted), theirs.features)
            self.adapters.append(nn.ModuleList(adapters))
        self.losses = nn.ModuleList(losses)

    def side(self, outputs: torch.Tensor, features: Features, index: int, *, is_teacher: bool) -> Side:
        """Return what one network gave for the place of that index."""
        if not self.reads_features:
            return Side(outputs=outputs)
        names = [pair.teacher if is_teacher else pair.student for pair in self.places[index]]
        read = tuple(features[name].float() for name in names) if names else (outputs,)
        return Side(outputs=outputs, features=read)

    def factors(self, progress: float, capacity: float) -> list[float]:
        """Return the schedule's factor at every place."""
        return [self._factor(progress, depth, capacity) for depth in self.depths]

    def at(self, index: int, seen: Seen) -> torch.Tensor:
        """Return the loss at one place, `[batch]`."""
        if self.reads_features:
            adapters = self.adapters[index]
            assert isinstance(adapters, nn.ModuleList)  # what `build` appends
            adapted = tuple(adapter(x) for adapter, x in zip(adapters, seen.student.features, strict=True))
            seen = Seen(
                student=Side(outputs=seen.student.outputs, features=adapted),
                teacher=seen.teacher,
                targets=seen.targets,
                temperature=seen.temperature,
                task=seen.task,
            )
        values: torch.Tensor = self.losses[index](seen)
        return values

    def _factor(self, progress: float, depth: float, capacity: float) -> float:
        reads_features = self.reads_features
        suits = self.prototype.suits if reads_features else "middle"
        moment = Moment(progress=progress, is_of_features=reads_features, suits=suits, depth=depth, capacity=capacity)
        return self.schedule.factor(moment)

    def _loss(self) -> Loss:
        return make_loss(self.term.loss.name, dict(self.term.loss.options), f"{self.where}, loss")

    def _adapter(self) -> Adapter:
        chosen = self.term.adapter or Choice("1x1" if self.prototype.aligned else "none")
        return make_adapter(chosen.name, dict(chosen.options), f"{self.where}, adapter")


def place_terms(terms: Sequence[Term], weights: Sequence[float], temperature: float) -> list[PlacedTerm]:
    """Return the terms as modules, without places yet, each with a label of its own.

    Raises:
        UnknownNameError: A loss, schedule, adapter or option is not known.
        RecipeError: An option has a value it cannot have, or a loss of outputs is given layers.
    """
    placed: list[PlacedTerm] = []
    for term, weight in zip(terms, weights, strict=True):
        count = 1 + sum(other.term.loss.name == term.loss.name for other in placed)
        label = term.loss.name if count == 1 else f"{term.loss.name} {count}"
        placed.append(PlacedTerm(term, label, weight, term.temperature or temperature))
    return placed


def _check_layers(term: Term, where: str, loss: Loss) -> None:
    if loss.reads == "outputs" and (term.layers != "auto" or term.adapter is not None):
        raise RecipeError(
            where,
            expected="no layers and no adapter, for it compares outputs",
            found=f"layers = {term.layers!r}" if term.layers != "auto" else "an adapter",
            hint="Leave them out, or choose a loss of features.",
        )
    if loss.reads == "consecutive" and term.layers == "outputs":
        raise RecipeError(where, expected="pairs of layers", found="'outputs'", hint="Leave layers out.")
