"""When a search ends: its evaluations or its time are spent, its hypervolume has stalled, or nothing is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

EndedBy = Literal["evaluations", "time", "stalled", "exhausted"]
# In words, after "ended by".
RULES: Mapping[str, str] = MappingProxyType(
    {
        "evaluations": "its number of evaluations",
        "time": "its time budget",
        "stalled": "a hypervolume that no longer grew",
        "exhausted": "having nothing left to measure",
    }
)
# A hypervolume that has grown by less than this share has not grown.
_GROWTH = 1e-3


class SearchEnded(Exception):  # noqa: N818  (no error: it takes the search out of an algorithm's loop)
    """A rule has ended the search."""

    def __init__(self, rule: EndedBy) -> None:
        super().__init__(rule)
        self.rule = rule


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppingRules:
    """Limits of a search; 0 is no limit of time or patience."""

    evaluations: int
    time_budget_s: float = 0.0
    patience: int = 0

    def before_measuring(self, evaluations: int, seconds: float) -> None:
        """End the search if no further plan may be measured.

        Raises:
            SearchEnded: So it is.
        """
        if evaluations >= self.evaluations:
            raise SearchEnded("evaluations")
        if self.time_budget_s and seconds >= self.time_budget_s:
            raise SearchEnded("time")

    def after_generation(self, hypervolumes: Sequence[float]) -> None:
        """End the search if the hypervolume of the last generations has not grown; it must have been above 0.

        Raises:
            SearchEnded: So it is.
        """
        if not self.patience or len(hypervolumes) <= self.patience:
            return
        before = hypervolumes[-1 - self.patience]
        if before > 0 and hypervolumes[-1] <= before * (1 + _GROWTH):
            raise SearchEnded("stalled")
