"""Importance by what batch norm multiplies a channel with."""

from __future__ import annotations

import numpy as np

from edgekd.prune.importance.criterion import Criterion, Subject
from edgekd.prune.importance.magnitude import L2
from edgekd.prune.importance.units import Floats, producers, sum_by_unit


def _batch_norm_scale(subject: Subject) -> Floats:
    """Return the sum of the absolute scales of each unit's norms; groups without any norm are ranked by `l2`.

    Source: Liu et al. 2017, "Learning Efficient Convolutional Networks through Network Slimming", ICCV,
    arXiv:1708.06519; deviation: the network was trained without their sparsity penalty, scales of coupled layers are
    added, and those of group and instance norm count as well.
    """
    channels = subject.channels
    scales = np.zeros(len(channels.group_of))
    has_norm = np.zeros(len(channels.groups), dtype=np.bool_)
    for producer in producers(subject.network, channels):
        if producer.is_norm:
            scales += sum_by_unit(channels, producer.units, producer.weight.abs().sum(1))
            has_norm[channels.group_of[producer.units]] = True
    return np.where(has_norm[channels.group_of], scales, L2.score(subject))


BATCH_NORM_SCALE = Criterion(name="bn-scale", score=_batch_norm_scale)
