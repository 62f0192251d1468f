"""The loss of a candidate: the ranked network sliced to its widths, batch norm recalibrated, on `search` samples."""

from __future__ import annotations

import math

import torch
from torch import fx, nn

from edgekd.data import Normalization, Samples, batches, channels_last, network_inputs
from edgekd.models.evaluate import mean_loss
from edgekd.prune.groups import ChannelMap
from edgekd.prune.slicing import narrow
from edgekd.records import Plan
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


def candidate_loss(
    candidate: fx.GraphModule, samples: Samples, normalization: Normalization | None, task: Task = CLASSIFICATION
) -> float:
    """Return the task's mean loss on `samples`; a loss that is not finite counts as infinite, not as an error."""
    loss = mean_loss(candidate, samples, normalization, task)
    return loss if math.isfinite(loss) else math.inf


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
