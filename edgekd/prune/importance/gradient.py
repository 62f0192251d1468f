"""Importance by what the loss on training examples says a unit's removal would cost."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from edgekd.prune.groups import ChannelMap
from edgekd.prune.importance.criterion import Criterion, Examples, Subject
from edgekd.prune.importance.magnitude import L2
from edgekd.prune.importance.units import Floats, producers, sum_by_unit
from edgekd.prune.rules.layers import CONVOLUTIONS
from edgekd.prune.slicing import copy_network
from edgekd.prune.tracer import Ids

_PIECE = 16


def _taylor(subject: Subject) -> Floats:
    """Return the squared first-order change of the loss without a unit's weights, layer by layer, mean over batches.

    In a layer the change is the sum of weight times gradient over all weights and biases that make the unit: the
    derivative with respect to a gate on its outputs.

    Source: Molchanov et al. 2019, "Importance Estimation for Neural Network Pruning", CVPR, arXiv:1906.10771, the
    first-order form for a set of weights; deviation: added over coupled layers, in evaluation mode and without
    training between.
    """
    channels, examples = subject.channels, _require(subject)
    network = copy_network(subject.network).eval()
    found = [
        dataclasses.replace(producer, tensors=tuple(tensor.requires_grad_() for tensor in producer.tensors))
        for producer in producers(network, channels)
    ]
    leaves = [tensor for producer in found for tensor in producer.tensors]
    total = np.zeros(len(channels.group_of))
    for inputs, targets in examples.batches:
        changes = np.zeros((len(found), len(total)))
        for x, y in _pieces(inputs, targets):
            share = examples.loss(network(*x), y).sum() / len(targets)
            gradients = iter(torch.autograd.grad(share, leaves, allow_unused=True))
            for change, producer in zip(changes, found, strict=True):
                for tensor in producer.tensors:
                    gradient = next(gradients)
                    if gradient is not None:
                        rows = producer.rows((tensor.detach() * gradient).double())
                        change += sum_by_unit(channels, producer.units, rows.sum(1))
        total += (changes**2).sum(0) / len(examples.batches)
    return total


def _fisher(subject: Subject) -> Floats:
    """Return the mean over examples of the squared change of the loss when a unit is gone from all that read it.

    The change is a derivative with respect to one gate in front of all layers that read the unit's channels; its mean
    square is the empirical Fisher information of the gate, which stands for the second derivative. Units that no
    convolution or linear layer reads are ranked by `l2`.

    Source: Liu et al. 2021, "Group Fisher Pruning for Practical Network Compression", ICML, arXiv:2108.00708, the
    importance of coupled channels (after Theis et al. 2018, "Faster gaze prediction with dense networks and Fisher
    pruning", arXiv:1801.05787); deviation: no division by memory or MACs, since the search weighs costs, and no
    training between.
    """
    channels, examples = subject.channels, _require(subject)
    network = copy_network(subject.network).eval()
    total, count = np.zeros(len(channels.group_of)), 0
    is_read = np.zeros(len(channels.groups), dtype=np.bool_)
    for x, y in (piece for batch in examples.batches for piece in _pieces(*batch)):
        with _gates(network, channels) as gates:
            losses = examples.loss(network(*x), y)
        gradients = torch.autograd.grad(losses.sum(), [gate for _, gate in gates], allow_unused=True)
        change = np.zeros((len(losses), len(total)))
        for (units, _), gradient in zip(gates, gradients, strict=True):
            # Where the first axis is not that of the examples, nothing can be said of each.
            if gradient is not None and len(gradient) % len(losses) == 0:
                by_example = gradient.double().reshape(len(losses), -1, len(units)).sum(1).numpy()
                for example, values in zip(change, by_example, strict=True):
                    example += sum_by_unit(channels, units, values)
                is_read[channels.group_of[units]] = True
        total += (change**2).sum(0)
        count += len(losses)
    return np.where(is_read[channels.group_of], total / max(1, count), L2.score(subject))


@contextlib.contextmanager
def _gates(network: fx.GraphModule, channels: ChannelMap) -> Iterator[list[tuple[Ids, torch.Tensor]]]:
    """Multiply what convolutions and linear layers read by gates of 1 while in the block, and collect the gates."""
    gates: list[tuple[Ids, torch.Tensor]] = []

    def gated(module: nn.Module, args: tuple[Any, ...], units: Ids) -> tuple[Any, ...]:
        x = args[0]
        axis = 1 if isinstance(module, CONVOLUTIONS) else x.dim() - 1
        gate = torch.ones([size if index in (0, axis) else 1 for index, size in enumerate(x.shape)], requires_grad=True)
        gates.append((units, gate))
        return (x * gate, *args[1:])

    handles = []
    for path, units in channels.inputs.items():
        module = network.get_submodule(path)
        if isinstance(module, (*CONVOLUTIONS, nn.Linear)):
            handles.append(
                module.register_forward_pre_hook(lambda module, args, units=units: gated(module, args, units))
            )
    try:
        yield gates
    finally:
        for handle in handles:
            handle.remove()


def _pieces(
    inputs: tuple[torch.Tensor, ...], targets: torch.Tensor
) -> Iterator[tuple[tuple[torch.Tensor, ...], torch.Tensor]]:
    """Cut a batch so that what gradients need of it fits into memory."""
    for start in range(0, len(targets), _PIECE):
        piece = slice(start, start + _PIECE)
        yield tuple(x[piece] for x in inputs), targets[piece]


def _require(subject: Subject) -> Examples:
    if subject.examples is None:
        raise ValueError("this criterion needs examples")
    return subject.examples


TAYLOR = Criterion(name="taylor", score=_taylor, needs_examples=True)
FISHER = Criterion(name="fisher", score=_fisher, needs_examples=True)
