"""Rank the units of each group, once, so that every width is a prefix of the order."""

from __future__ import annotations

import dataclasses

import numpy as np
from torch import fx

from edgekd.prune.groups import ChannelMap
from edgekd.prune.importance.criterion import Criterion, Examples, Subject
from edgekd.prune.importance.magnitude import L2


def rank_units(
    network: fx.GraphModule,
    channels: ChannelMap,
    criterion: Criterion = L2,
    *,
    examples: Examples | None = None,
    seed: int = 0,
) -> ChannelMap:
    """Return the map with each group's `order` set by a criterion, most important first; ties go by position.

    Args:
        network: The network; left as it was.
        channels: Its groups.
        criterion: What importance is.
        examples: What it looks at if it needs any; otherwise a `ValueError`.
        seed: Of what is random in it.
    """
    scores = criterion.score(Subject(network=network, channels=channels, examples=examples, seed=seed))
    groups = []
    for index, group in enumerate(channels.groups):
        members = np.flatnonzero(channels.group_of == index)
        by_position = members[np.argsort(channels.position_of[members])]
        order = np.argsort(-scores[by_position], kind="stable")
        groups.append(dataclasses.replace(group, order=tuple(int(i) for i in order)))
    return dataclasses.replace(channels, groups=tuple(groups))
