"""Importance by the size of a unit's own weights."""

from __future__ import annotations

import numpy as np

from edgekd.prune.importance.criterion import Criterion, Subject
from edgekd.prune.importance.units import Floats, add_up, producers, sum_by_unit


def _l1(subject: Subject) -> Floats:
    """Return the sum of absolute weights that make each unit, layers weighing the same.

    Source: Li et al. 2017, "Pruning Filters for Efficient ConvNets", ICLR, arXiv:1608.08710, summed over
    coupled layers as in Fang et al. 2023, "DepGraph: Towards Any Structural Pruning", CVPR, section 3.3,
    arXiv:2301.12900; deviation: input-side weights are left out, since their magnitude says how the next layer uses
    other channels too, and the norm behind a convolution takes part with its scale.
    """
    return _power_sums(subject, 1)


def _l2(subject: Subject) -> Floats:
    """Return the sum of squared weights that make each unit, layers weighing the same.

    Source: as `l1`, with squares, as is usual with coupled layers (Fang et al. 2023, section 3.3).
    """
    return _power_sums(subject, 2)


def _lamp(subject: Subject) -> Floats:
    """Return the layer-adaptive magnitude of each unit, summed over coupled layers.

    Within a layer the score of a unit is its sum of squares divided by that of all units at least as large, itself
    included: the largest has 1.

    Source: Lee et al. 2021, "Layer-adaptive Sparsity for the Magnitude-based Pruning", ICLR,
    arXiv:2010.07611; deviation: of units instead of single weights, and scores of coupled layers are added. In a group
    of one layer the order is that of `l2`.
    """
    total = np.zeros(len(subject.channels.group_of))
    for producer in producers(subject.network, subject.channels):
        squares = sum_by_unit(subject.channels, producer.units, producer.weight.square().sum(1))
        present = np.unique(producer.units)
        own, ascending = squares[present], np.sort(squares[present])
        at_least = np.cumsum(ascending[::-1])[::-1][np.searchsorted(ascending, own)]
        total[present] += np.divide(own, at_least, out=np.zeros(len(present)), where=at_least > 0)
    return total


def _power_sums(subject: Subject, power: int) -> Floats:
    channels = subject.channels
    sums = (
        (producer.units, sum_by_unit(channels, producer.units, producer.weight.abs().pow(power).sum(1)))
        for producer in producers(subject.network, channels)
    )
    return add_up(channels, sums)


L1 = Criterion(name="l1", score=_l1)
L2 = Criterion(name="l2", score=_l2)
LAMP = Criterion(name="lamp", score=_lamp)
