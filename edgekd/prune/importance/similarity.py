"""Importance by how little other units could stand in for a unit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from edgekd.prune.groups import ChannelMap
from edgekd.prune.importance.criterion import Criterion, Subject
from edgekd.prune.importance.units import Floats, Producer, add_up, producers
from edgekd.prune.tracer import Ids


def _geometric_median(subject: Subject) -> Floats:
    """Return the sum of the distances of each unit's weights from those of its group's other units.

    The unit nearest to the others' geometric median has the smallest sum, and goes first.

    Source: He et al. 2019, "Filter Pruning via Geometric Median for Deep Convolutional Neural Networks Acceleration",
    CVPR, arXiv:1811.00250; deviation: distances are within a group, whose units alone can stand in for
    each other, and added over coupled layers, each divided by its mean. Norms take no part.
    """
    channels = subject.channels
    layers = (producer for producer in producers(subject.network, channels) if not producer.is_norm)
    return add_up(channels, (found for producer in layers for found in _distances(channels, producer)))


def _distances(channels: ChannelMap, producer: Producer) -> Iterator[tuple[Ids, Floats]]:
    rows, group_of = producer.weight, channels.group_of[producer.units]
    for index in np.unique(group_of):
        places = np.flatnonzero(group_of == index)
        # A unit's channels in this layer, one unit after the other.
        places = places[np.argsort(channels.position_of[producer.units[places]], kind="stable")]
        units = np.unique(producer.units[places])
        by_unit = rows[torch.from_numpy(places)].reshape(len(units), -1)
        values = np.zeros(len(channels.group_of))
        exact = "donot_use_mm_for_euclid_dist"
        values[producer.units[places[:: len(places) // len(units)]]] = torch.cdist(
            by_unit, by_unit, compute_mode=exact
        ).sum(1)
        yield units, values


FPGM = Criterion(name="fpgm", score=_geometric_median)
