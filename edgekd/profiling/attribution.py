"""Whose time it is: from the nodes that a runtime ran, after its own fusions, to the operators of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
QUANTILES = ("p50_us", "p90_us", "p99_us")
_QUANTIZER = "quantizer_"


@dataclass(frozen=True, kw_only=True, eq=False)
class Shares:
    """Quantiles of time in microseconds, `[3, operators]` in the order of `QUANTILES`, and nodes, `[operators]`.

    An operator that the runtime fused into another has none.
    """

    times_us: Floats
    nodes: npt.NDArray[np.int64]


def attribute(ran: Sequence[Mapping[str, Any]], owners: Mapping[str, str], names: Sequence[str]) -> Shares:
    """Return the share of each operator.

    A node that carries no name of the network is the runtime's own, most often a change of layout; it belongs to
    the operator that ran before it, the first ones to the operator that follows.

    Args:
        ran: The runtime's nodes in the order they ran, each with `name` and quantiles.
        owners: The operator of each node of the network.
        names: Of the operators.
    """
    position = {name: index for index, name in enumerate(names)}
    times, nodes = np.zeros((len(QUANTILES), len(names))), np.zeros(len(names), dtype=np.int64)
    known = [_owner(str(node["name"]).partition("/")[0], owners) for node in ran]
    last = next((owner for owner in known if owner is not None), None)
    for node, owner in zip(ran, known, strict=True):
        last = owner or last
        if last is None:
            break
        index = position[last]
        times[:, index] += [float(node[quantile]) for quantile in QUANTILES]
        nodes[index] += 1
    return Shares(times_us=times, nodes=nodes)


def _owner(name: str, owners: Mapping[str, str]) -> str | None:
    """A quantizer belongs to the operator whose result it quantizes."""
    return owners.get(name) or owners.get(name.removeprefix(_QUANTIZER))
