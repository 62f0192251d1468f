"""What student and teacher see of a batch: the same, or different inputs of the same examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

Inputs = tuple[torch.Tensor, ...]
Feed = Callable[[Inputs], tuple[Inputs, Inputs]]


def same_inputs(inputs: Inputs) -> tuple[Inputs, Inputs]:
    """Give both networks everything."""
    return inputs, inputs


def chosen_inputs(student: Sequence[int], teacher: Sequence[int]) -> Feed:
    """Return a feed of inputs by their position, for networks that see other sensors of the same examples.

    Source: Gupta, Hoffman and Malik 2016, "Cross Modal Distillation for Supervision Transfer", CVPR, section 3,
    arXiv:1507.00448. Any loss then compares what the two networks make of an example.
    """

    def feed(inputs: Inputs) -> tuple[Inputs, Inputs]:
        return tuple(inputs[i] for i in student), tuple(inputs[i] for i in teacher)

    return feed


class Fed(nn.Module):
    """A student that is called with everything and takes its own part, as validation calls it."""

    def __init__(self, network: nn.Module, feed: Feed) -> None:
        super().__init__()
        self.network, self.feed = network, feed

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return the outputs."""
        outputs: torch.Tensor = self.network(*self.feed(inputs)[0])
        return outputs
