"""The most memory that the values between layers take at once, for whole populations of plans."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import fx

from edgekd.models.memory import alive_values, elements_of
from edgekd.prune.groups import ChannelMap
from edgekd.records import VALUE_BYTES, Precision
from edgekd.search.space import Widths, count_channels


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakMemory:
    """Elements alive at each moment of a run as `fixed + widths @ per_width`: `[moments]` and `[groups, moments]`."""

    fixed: npt.NDArray[np.int64]
    per_width: npt.NDArray[np.int64]

    def elements(self, widths: Widths) -> npt.NDArray[np.int64]:
        """Return the most elements alive at once in each plan, `[plans]`."""
        # In floating point, because that is where matrix products are fast; exact up to 2^53.
        moments = self.fixed + widths.astype(np.float64) @ self.per_width.astype(np.float64)
        peaks: npt.NDArray[np.int64] = moments.max(axis=1).astype(np.int64)
        return peaks

    def bytes(self, widths: Widths, precision: Precision) -> npt.NDArray[np.int64]:
        """Return the same in bytes, for values stored in a precision."""
        return self.elements(widths) * VALUE_BYTES[precision]


def peak_memory(network: fx.GraphModule, channels: ChannelMap) -> PeakMemory:
    """Return the form of the peak for every plan, in the order the network runs."""
    moments = alive_values(network)
    sizes = {node: _size(channels, node) for node in frozenset().union(*moments)}
    table = np.unique([np.sum([sizes[node] for node in alive], axis=0) for alive in moments], axis=0)
    table = table[_is_undominated(table)]
    return PeakMemory(fixed=table[:, 0], per_width=table[:, 1:].T.copy())


def _size(channels: ChannelMap, node: fx.Node) -> npt.NDArray[np.int64]:
    """Return a value's elements as a constant and a factor for each group's width, `[1 + groups]`."""
    groups = len(channels.prunable)
    if node.name not in channels.nodes:
        return np.array([elements_of(node), *[0] * groups], dtype=np.int64)
    units = channels.nodes[node.name]
    count = count_channels(channels, units)
    pixels = elements_of(node) // units.size
    return pixels * np.concatenate([[count.fixed], count.per_width]).astype(np.int64)


def _is_undominated(table: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return which moments can be the peak: no other, of which none is equal, takes at least as much at all widths."""
    covers = np.asarray((table[None, :, :] >= table[:, None, :]).all(axis=2))
    return np.asarray(covers.sum(axis=1) == 1)  # only itself
