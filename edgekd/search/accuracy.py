"""The loss of a candidate: the ranked network sliced to its widths, batch norm recalibrated, on `search` samples."""

from __future__ import annotations

import math

import torch
from torch import fx, nn

from edgekd.data import Normalization, Samples, batches, channels_last, network_inputs
from edgekd.models.evaluate import mean_loss_and_metric
from edgekd.prune.groups import ChannelMap
from edgekd.prune.slicing import narrow
from edgekd.records import Plan
from edgekd.search.ledger import Score
from edgekd.tasks import CLASSIFICATION, Task

_RECALIBRATION_BATCH = 128


def candidate_network(
    network: fx.GraphModule,
    channels: ChannelMap,
    plan: Plan,
    recalibration: Samples,
    normalization: Normalization | None,
) -> fx.GraphModule:
    """Return the network a plan stands for, with batch-norm statistics of its own.

    Dropping channels shifts what the next batch norm sees; without new statistics nearly every plan scores at chance.
    """
    candidate = narrow(network, channels, plan)
    recalibrate(candidate, recalibration, normalization)
    return candidate


def candidate_score(
    candidate: fx.GraphModule, samples: Samples, normalization: Normalization | None, task: Task = CLASSIFICATION
) -> Score:
    """Return the task's mean loss and metric on `samples`; a loss that is not finite is infinite and has no metric."""
    loss, metric = mean_loss_and_metric(candidate, samples, normalization, task)
    return Score(loss=loss, metric=metric if math.isfinite(loss) else None)


def recalibrate(network: nn.Module, images: Samples, normalization: Normalization | None) -> None:
    """Estimate the batch-norm statistics of `network` anew, as the plain mean over batches of `images`.

    Source: Yu and Huang 2019, "Universally Slimmable Networks and Improved Training Techniques", ICCV, section 3.2,
    arXiv:1903.05134.
    """
    norms = [m for m in network.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        for x, _, _ in batches(images, _RECALIBRATION_BATCH):
            network(*channels_last(network_inputs(x, normalization)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
