"""Channel groups of a network, plans of their widths, and what a search found."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelGroup:
    """Interchangeable units of channels: each unit lives or dies as a whole, any of them may be dropped.

    A unit is a set of channels of one or more layers (`members`, as `layer.dimension` names) that are tied by the
    network's arithmetic. `order` ranks the units, most important first: width `w` keeps `order[:w]`. A group that
    is not `prunable` says why in `reason`.
    """

    name: str
    units: int
    members: tuple[str, ...]
    prunable: bool
    reason: str | None = None
    order: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How many units each channel group keeps. Two plans with equal widths are the same plan, with the same id."""

    widths: tuple[tuple[str, int], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(sorted(self.widths)))
        names = [name for name, _ in self.widths]
        if len(set(names)) != len(names):
            raise ValueError("a plan names each group once")
        if any(width < 1 for _, width in self.widths):
            raise ValueError("every width is at least 1")

    @property
    def id(self) -> str:
        """The first 12 hexadecimal digits of the SHA-256 of the plan's canonical JSON."""
        text = json.dumps({"widths": dict(self.widths)}, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def document(self) -> dict[str, object]:
        """Return the content of `plan.json`."""
        return {"id": self.id, "widths": dict(self.widths)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An evaluated plan. Objectives are minimized; a `violation` of at most 0 means every budget is met.

    `loss` and `metric` are the task's on the search split, before any training, where they were measured.
    """

    plan: Plan
    objectives: tuple[float, ...]
    violation: float
    size_bytes: int
    memory_bytes: int
    macs: int
    parameters: int
    loss: float | None = None
    metric: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SurrogateQuality:
    """How a surrogate of the loss, trained on some plans, predicted others before they were measured.

    `kendall_tau` is between -1 and 1 (the same order), and `None` where there is no order to compare.
    `mean_absolute_error` is in the unit of the loss.
    """

    trained_on: int
    unseen: int
    kendall_tau: float | None
    mean_absolute_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A generation of the search, from 0: the candidates new in it, and all evaluations and the hypervolume so far.

    `surrogate` says how well a surrogate, if one chose them, predicted the losses of the new candidates.
    """

    number: int
    candidates: tuple[Candidate, ...]
    evaluations: int
    hypervolume: float
    surrogate: SurrogateQuality | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParetoFront:
    """What a search found, by which algorithm, and which rule ended it.

    `history` is (evaluations so far, hypervolume) once a generation, `surrogate` its quality in the same order.
    """

    objective_names: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    reference_point: tuple[float, ...]
    hypervolume: float
    evaluations: int
    seed: int
    history: tuple[tuple[int, float], ...]
    algorithm: str = "nsga2"
    ended_by: str = "evaluations"
    surrogate: tuple[SurrogateQuality | None, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """An input or output of a network: its shape without the batch, and torch's name of its type, as `float32`."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
