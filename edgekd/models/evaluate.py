"""What a network in torch answers: outputs, the task's metric, the task's loss. All go batch by batch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from edgekd.data import Normalization, Samples, batches, channels_last, network_inputs
from edgekd.records import Metric
from edgekd.tasks import CLASSIFICATION, Task, make_metric

_BATCH = 256


def answers(
    network: nn.Module, samples: Samples, normalization: Normalization | None, batch_size: int = _BATCH
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the outputs of a network in evaluation mode and the targets, batch by batch."""
    network.eval()
    for x, y, _ in batches(samples, batch_size):
        inputs = channels_last(network_inputs(x, normalization))
        with torch.inference_mode():
            outputs: torch.Tensor = network(*inputs)
        yield outputs, y


def predict(network: nn.Module, samples: Samples, normalization: Normalization | None) -> torch.Tensor:
    """Return the outputs for every sample, `[samples, ...]`, with the network in evaluation mode."""
    # A copy outside of inference mode can be trained against.
    return torch.cat([outputs.clone() for outputs, _ in answers(network, samples, normalization)])


def measure(
    network: nn.Module,
    samples: Samples,
    normalization: Normalization | None,
    *,
    split: str,
    task: Task = CLASSIFICATION,
) -> Metric:
    """Return the task's metric; for classification, the share of images whose largest logit is that of their class."""
    meter = task.meter()
    for outputs, y in answers(network, samples, normalization):
        meter.update(outputs, y)
    return make_metric(task, meter, samples=len(samples), split=split)


def mean_loss_and_metric(
    network: nn.Module, samples: Samples, normalization: Normalization | None, task: Task = CLASSIFICATION
) -> tuple[float, float]:
    """Return the mean of the task's loss, lower is better, and the task's metric, in one pass over the samples."""
    total, meter = 0.0, task.meter()
    for outputs, y in answers(network, samples, normalization):
        total += float(task.loss(outputs, y).double().sum())
        meter.update(outputs, y)
    return total / len(samples), meter.value()
