"""Adapters: what turns a student's feature into one of the teacher's size. Trained with the student, then dropped."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from edgekd.distill.features import channels_of, positions
from edgekd.distill.options import construct
from edgekd.errors import UnknownNameError


class Adapter(nn.Module):
    """A trained map from a student's feature to the teacher's channels, and its form where it can change that."""

    name: ClassVar[str]

    def build(self, student: torch.Tensor, teacher: torch.Tensor) -> None:
        """Make the weights for features of these sizes; called once, before training."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the feature, adapted."""
        return x


class Identity(Adapter):
    """Leave the feature as it is."""

    name: ClassVar[str] = "none"


class Pointwise(Adapter):
    """A linear map of the channels at every position; the identity to begin with where the channels are as many.

    Source: Romero et al. 2015, "FitNets: Hints for Thin Deep Nets", ICLR, section 2.2, arXiv:1412.6550, the
    convolutional regressor. Deviation: a kernel of one pixel, since features of other sizes are resized.
    """

    name: ClassVar[str] = "1x1"

    def build(self, student: torch.Tensor, teacher: torch.Tensor) -> None:
        """Make the weights."""
        self.linear = nn.Linear(channels_of(student), channels_of(teacher))
        if channels_of(student) == channels_of(teacher):
            nn.init.eye_(self.linear.weight)
            nn.init.zeros_(self.linear.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the feature with the teacher's channels."""
        if x.ndim != 4:
            mapped: torch.Tensor = self.linear(x)
            return mapped
        return torch.nn.functional.conv2d(x, self.linear.weight[:, :, None, None], self.linear.bias)


class ChannelAttention(Adapter):
    """A linear map of the channels, each scaled by a learned function of all channels' means.

    Source: Hu, Shen and Sun 2018, "Squeeze-and-Excitation Networks", CVPR, equations 2 to 4, arXiv:1709.01507, on the
    output of a FitNets regressor. Deviation: the scale is twice the sigmoid, which begins at 1.

    Args:
        reduction: How many times narrower the hidden layer of the gate is.
    """

    name: ClassVar[str] = "channel-attention"

    def __init__(self, *, reduction: int = 4) -> None:
        super().__init__()
        if reduction < 1:
            raise ValueError("a reduction of at least 1")
        self.reduction = reduction

    def build(self, student: torch.Tensor, teacher: torch.Tensor) -> None:
        """Make the weights."""
        channels = channels_of(teacher)
        self.regressor = Pointwise()
        self.regressor.build(student, teacher)
        self.squeeze = nn.Linear(channels, max(1, channels // self.reduction))
        self.excite = nn.Linear(self.squeeze.out_features, channels)
        nn.init.zeros_(self.excite.weight)
        nn.init.zeros_(self.excite.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the feature with the teacher's channels, scaled."""
        x = self.regressor(x)
        scale = 2.0 * torch.sigmoid(self.excite(torch.relu(self.squeeze(positions(x).mean(1)))))
        return x * (scale[:, :, None, None] if x.ndim == 4 else scale[:, None] if x.ndim == 3 else scale)


class CrossAttention(Adapter):
    """One learned query for each position of the teacher, which reads all positions of the student.

    A student's map becomes the tokens of a Transformer teacher, and tokens become the map of a convolutional one.

    Source: Liu, Cao, Li, Hu, Ding and Wang 2022, "Cross-Architecture Knowledge Distillation", ACCV, section 3.2,
    arXiv:2207.05273, whose projector maps a student's features into a Transformer teacher's attention space.
    Deviation: the queries are learned positions, as in Jaegle et al. 2021 (Perceiver, arXiv:2103.03206), so that the
    map need not have as many positions as the teacher has tokens.

    Args:
        heads: Of the attention; its width is the teacher's channels, rounded up to a multiple of them.
    """

    name: ClassVar[str] = "cross-attention"

    def __init__(self, *, heads: int = 4) -> None:
        super().__init__()
        if heads < 1:
            raise ValueError("at least 1 head")
        self.heads = heads

    def build(self, student: torch.Tensor, teacher: torch.Tensor) -> None:
        """Make the weights, for as many positions as both features have."""
        channels = channels_of(teacher)
        width = -(-channels // self.heads) * self.heads
        own, wanted = positions(student).shape[1], positions(teacher).shape[1]
        self.places = nn.Parameter(0.02 * torch.randn(own, width))
        self.queries = nn.Parameter(0.02 * torch.randn(wanted, width))
        self.read = nn.Linear(channels_of(student), width)
        self.attention = nn.MultiheadAttention(width, self.heads, batch_first=True)
        self.write = nn.Linear(width, channels)
        self.shape = torch.Size(teacher.shape[1:])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the feature in the teacher's form."""
        keys = self.read(positions(x)) + self.places
        queries = self.queries.expand(len(x), -1, -1)
        answers: torch.Tensor = self.write(self.attention(queries, keys, keys, need_weights=False)[0])
        if len(self.shape) == 3:
            return answers.transpose(1, 2).reshape(len(x), *self.shape)
        return answers if len(self.shape) == 2 else answers[:, 0]


ADAPTERS: dict[str, type[Adapter]] = {
    adapter.name: adapter for adapter in (Identity, Pointwise, ChannelAttention, CrossAttention)
}


def make_adapter(name: str, options: dict[str, object], where: str) -> Adapter:
    """Return an adapter with its options, still without weights.

    Raises:
        UnknownNameError: There is no such adapter, or it has no such option.
        RecipeError: An option has a value it cannot have.
    """
    if name not in ADAPTERS:
        raise UnknownNameError(where, name, ADAPTERS)
    return construct(ADAPTERS[name], options, where)
