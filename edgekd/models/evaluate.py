"""What a network in torch answers: logits, accuracy, loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from edgekd.data import Images, Normalization, batches, normalize
from edgekd.records import Metric

_BATCH = 256


def predict(network: nn.Module, images: Images, normalization: Normalization) -> torch.Tensor:
    """Return the logits of every image, `[samples, classes]`, with the network in evaluation mode."""
    network.eval()
    outputs = []
    with torch.inference_mode():
        for x, _, _ in batches(images, _BATCH):
            outputs.append(network(normalize(x, normalization).contiguous(memory_format=torch.channels_last)))
    return torch.cat(outputs)


def accuracy(network: nn.Module, images: Images, normalization: Normalization, *, split: str) -> Metric:
    """Return the share of images whose largest logit is that of their class."""
    return metric_of(predict(network, images, normalization), images, split=split)


def metric_of(logits: torch.Tensor, images: Images, *, split: str) -> Metric:
    """Return the top-1 accuracy of logits already computed."""
    correct = int((logits.argmax(1) == images.y).sum())
    return Metric(value=correct / len(images), samples=len(images), split=split)


def mean_loss(network: nn.Module, images: Images, normalization: Normalization) -> float:
    """Return the mean cross-entropy over the images, in nats; lower is better."""
    return float(F.cross_entropy(predict(network, images, normalization), images.y))
