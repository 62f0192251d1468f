"""What a network of the zoo is, how its weights are drawn and what it is fed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

CLASSES = 5

Inputs = tuple[torch.Tensor, ...] | dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A small network built as a paper describes it.

    Attributes:
        name: What tests and tables call it.
        factory: Makes it, with weights that `draw` is to replace.
        example_inputs: Returns inputs for a batch size and a seed: a tuple of arguments, or a dict of tensors.
        published: Authors, year, title, venue, number at arXiv.
        prunable: Whether there is at least one group whose width may be chosen.
        left_whole: Layers all of whose output channels must stay, each with the reason.
    """

    name: str
    factory: Callable[[], nn.Module]
    example_inputs: Callable[[int, int], Inputs]
    published: str
    prunable: bool = True
    left_whole: tuple[tuple[str, str], ...] = ()


def images(*shape: int, count: int = 1) -> Callable[[int, int], Inputs]:
    """Return a builder of `count` standard normal inputs of that shape without the batch."""

    def example_inputs(batch: int, seed: int) -> Inputs:
        generator = torch.Generator().manual_seed(seed)
        return tuple(torch.randn(batch, *shape, generator=generator) for _ in range(count))

    return example_inputs


def draw(network: nn.Module, seed: int) -> nn.Module:
    """Give the network weights with which mistakes show, and return it in evaluation mode.

    Norms get random statistics and affine parameters and every bias is non-zero. Parameters that a module owns
    directly (class tokens, layer scales) are spread around the value they start from.
    """
    generator = torch.Generator().manual_seed(seed)

    def fill(tensor: torch.Tensor | None, center: float, scale: float) -> None:
        if tensor is not None:
            with torch.no_grad():
                tensor.copy_(center + scale * torch.randn(tensor.shape, generator=generator))

    for module in network.modules():
        weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
        if isinstance(module, (_ConvNd, nn.Linear)):
            fan_in = weight[0].numel()
            if isinstance(module, _ConvTransposeNd):
                fan_in = max(1, weight.shape[0] // module.groups)
            fill(weight, 0.0, (2.0 / fan_in) ** 0.5)
            fill(bias, 0.0, 0.3)
        elif isinstance(module, nn.PReLU):
            fill(weight, 0.25, 0.1)
        elif isinstance(module, nn.Embedding):
            fill(weight, 0.0, 1.0)
        elif isinstance(module, (_BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d)):
            fill(weight, 1.0, 0.3)
            fill(bias, 0.0, 0.3)
            fill(getattr(module, "running_mean", None), 0.0, 0.3)
            if getattr(module, "running_var", None) is not None:
                module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=generator))
        elif isinstance(module, nn.LSTM):
            for parameter in module.parameters():
                fill(parameter, 0.0, module.hidden_size**-0.5)
        else:
            for parameter in module.parameters(recurse=False):
                fill(parameter, float(parameter.detach().mean()), 0.3)
    return network.eval()


def conv_norm(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return a padded convolution without bias and its batch norm."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


def head(channels: int) -> nn.Sequential:
    """Return a classifier of the channels' means."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))
