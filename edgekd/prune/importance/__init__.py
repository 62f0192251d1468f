"""Which units of a group matter: criteria by name, one module a family, and the order they give."""

from edgekd.prune.importance.criterion import Criterion, Examples
from edgekd.prune.importance.rank import rank_units
from edgekd.prune.importance.registry import CRITERIA, load_criterion

__all__ = ["CRITERIA", "Criterion", "Examples", "load_criterion", "rank_units"]
