"""Networks for phones: depthwise convolutions, inverted residuals, gates, shuffles and cheap copies."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from zoo.network import CLASSES, Network, conv_norm, head, images
from zoo.residual import SqueezeExcite


def _separable(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [conv_norm(inputs, inputs, 3, stride, groups=inputs), nn.ReLU(), conv_norm(inputs, outputs, 1), nn.ReLU()]


def mobilenet_v1() -> nn.Module:
    """Depthwise and pointwise convolutions in turn."""
    body = [*_separable(8, 16, 1), *_separable(16, 24, 2), *_separable(24, 32, 2)]
    return nn.Sequential(conv_norm(3, 8, stride=2), nn.ReLU(), *body, head(32))


class _InvertedResidual(nn.Module):
    """Widen, convolve each channel by itself, narrow again; the shortcut joins the narrow ends."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        expanded: int,
        activation: type[nn.Module],
        kernel: int = 3,
        stride: int = 1,
        squeezed: int = 0,
        gate: type[nn.Module] = nn.Sigmoid,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if expanded != inputs:
            layers += [conv_norm(inputs, expanded, 1), activation(inplace=True)]
        layers += [conv_norm(expanded, expanded, kernel, stride, groups=expanded), activation(inplace=True)]
        if squeezed:
            layers.append(SqueezeExcite(expanded, squeezed, gate()))
        self.layers = nn.Sequential(*layers, conv_norm(expanded, outputs, 1))
        self.has_shortcut = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x) if self.has_shortcut else self.layers(x)


def mobilenet_v2() -> nn.Module:
    """Inverted residuals with ReLU6; the first one without expansion."""
    blocks = [
        _InvertedResidual(8, 12, expanded=8, activation=nn.ReLU6),
        _InvertedResidual(12, 16, expanded=48, stride=2, activation=nn.ReLU6),
        _InvertedResidual(16, 16, expanded=64, activation=nn.ReLU6),
    ]
    last = [conv_norm(16, 48, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2)]
    return nn.Sequential(conv_norm(3, 8, stride=2), nn.ReLU6(), *blocks, *last, nn.Linear(48, CLASSES))


def mobilenet_v3() -> nn.Module:
    """Small: squeeze-and-excitation with hard sigmoid, hard swish, and a last convolution after the pooling."""
    blocks = [
        _InvertedResidual(8, 8, expanded=8, stride=2, activation=nn.ReLU, squeezed=4, gate=nn.Hardsigmoid),
        _InvertedResidual(8, 12, expanded=32, kernel=5, activation=nn.Hardswish, squeezed=8, gate=nn.Hardsigmoid),
        _InvertedResidual(12, 12, expanded=40, kernel=5, activation=nn.Hardswish, squeezed=12, gate=nn.Hardsigmoid),
    ]
    last = [conv_norm(12, 40, 1), nn.Hardswish(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(40, 48, 1), nn.Hardswish()]
    classify = [nn.Flatten(), nn.Dropout(0.2), nn.Linear(48, CLASSES)]
    return nn.Sequential(conv_norm(3, 8, stride=2), nn.Hardswish(), *blocks, *last, *classify)


def efficientnet_lite() -> nn.Module:
    """EfficientNet without gates and with ReLU6, kernels of 3 and 5."""
    blocks = [
        _InvertedResidual(8, 8, expanded=8, activation=nn.ReLU6),
        _InvertedResidual(8, 12, expanded=48, kernel=5, stride=2, activation=nn.ReLU6),
        _InvertedResidual(12, 12, expanded=72, kernel=5, activation=nn.ReLU6),
    ]
    return nn.Sequential(conv_norm(3, 8, stride=2), nn.ReLU6(), *blocks, conv_norm(12, 48, 1), nn.ReLU6(), head(48))


def mnasnet() -> nn.Module:
    """A1: a separable convolution first, then inverted residuals of which some have gates."""
    blocks = [
        _InvertedResidual(8, 8, expanded=8, activation=nn.ReLU),
        _InvertedResidual(8, 12, expanded=48, stride=2, activation=nn.ReLU),
        _InvertedResidual(12, 12, expanded=36, kernel=5, activation=nn.ReLU, squeezed=9),
    ]
    return nn.Sequential(conv_norm(3, 8, stride=2), nn.ReLU(), *blocks, conv_norm(12, 40, 1), nn.ReLU(), head(40))


def _shuffle(x: torch.Tensor, groups: int) -> torch.Tensor:
    batch, channels, height, width = x.shape
    x = x.view(batch, groups, channels // groups, height, width)
    return x.transpose(1, 2).contiguous().view(batch, channels, height, width)


class _ShuffleUnit(nn.Module):
    """Half of the channels pass; the other half is convolved; then both halves are interleaved."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        expand, narrow = conv_norm(half, half, 1), conv_norm(half, half, 1)
        self.branch = nn.Sequential(expand, nn.ReLU(), conv_norm(half, half, groups=half), narrow, nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        passed, convolved = x.chunk(2, 1)
        return _shuffle(torch.cat((passed, self.branch(convolved)), 1), 2)


class _ShuffleDown(nn.Module):
    """Both branches read all channels and halve the resolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        down = conv_norm(inputs, inputs, stride=2, groups=inputs)
        self.left = nn.Sequential(down, conv_norm(inputs, half, 1), nn.ReLU())
        middle = conv_norm(half, half, stride=2, groups=half)
        self.right = nn.Sequential(conv_norm(inputs, half, 1), nn.ReLU(), middle, conv_norm(half, half, 1), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _shuffle(torch.cat((self.left(x), self.right(x)), 1), 2)


def shufflenet_v2() -> nn.Module:
    """Channel split and channel shuffle."""
    body = [_ShuffleDown(8, 24), _ShuffleUnit(24), _ShuffleUnit(24), conv_norm(24, 40, 1), nn.ReLU()]
    return nn.Sequential(conv_norm(3, 8, stride=2), nn.ReLU(), *body, head(40))


class _Ghost(nn.Module):
    """Make half of the channels by a convolution and the rest cheaply from them, then take as many as asked for."""

    def __init__(self, inputs: int, outputs: int, *, is_active: bool) -> None:
        super().__init__()
        made = math.ceil(outputs / 2)
        self.outputs = outputs
        activation = nn.ReLU if is_active else nn.Identity
        self.primary = nn.Sequential(conv_norm(inputs, made, 1), activation())
        self.cheap = nn.Sequential(conv_norm(made, made, 3, groups=made), activation())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        primary = self.primary(x)
        return torch.cat((primary, self.cheap(primary)), 1)[:, : self.outputs]


class _GhostBottleneck(nn.Module):
    def __init__(self, inputs: int, expanded: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.expand = _Ghost(inputs, expanded, is_active=True)
        self.down = conv_norm(expanded, expanded, 3, stride, groups=expanded) if stride > 1 else nn.Identity()
        self.attend = SqueezeExcite(expanded, expanded // 4, nn.Hardsigmoid())
        self.narrow = _Ghost(expanded, outputs, is_active=False)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            depthwise = conv_norm(inputs, inputs, 3, stride, groups=inputs)
            self.shortcut = nn.Sequential(depthwise, conv_norm(inputs, outputs, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shortcut(x) + self.narrow(self.attend(self.down(self.expand(x))))


def ghostnet() -> nn.Module:
    """Ghost bottlenecks; the odd width of 15 makes one of them drop a channel that it made."""
    blocks = [_GhostBottleneck(8, 24, 15, 2), _GhostBottleneck(15, 32, 16, 1)]
    return nn.Sequential(conv_norm(3, 8, stride=2), nn.ReLU(), *blocks, conv_norm(16, 40, 1), nn.ReLU(), head(40))


class _HandMadeSwish(nn.Module):
    """Hard swish written out, as in code from before frameworks had it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * F.relu6(x + 3.0) / 6.0


def mobilenet_v3_written_out() -> nn.Module:
    """Hard swish as arithmetic with constants."""
    body = [conv_norm(12, 12, groups=12), _HandMadeSwish(), conv_norm(12, 24, 1), _HandMadeSwish()]
    return nn.Sequential(conv_norm(3, 12, stride=2), _HandMadeSwish(), *body, head(24))


_MOBILENET_V3 = (
    "Howard, Sandler, Chu, Chen, Chen, Tan, Wang, Zhu, Pang, Vasudevan, Le, Adam 2019, Searching for MobileNetV3, "
    "ICCV, arXiv:1905.02244"
)
NETWORKS = (
    Network(
        name="mobilenet_v1",
        factory=mobilenet_v1,
        example_inputs=images(3, 32, 32),
        published=(
            "Howard, Zhu, Chen, Kalenichenko, Wang, Weyand, Andreetto, Adam 2017, MobileNets: Efficient Convolutional "
            "Neural Networks for Mobile Vision Applications, arXiv:1704.04861"
        ),
    ),
    Network(
        name="mobilenet_v2",
        factory=mobilenet_v2,
        example_inputs=images(3, 32, 32),
        published=(
            "Sandler, Howard, Zhu, Zhmoginov, Chen 2018, MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR, "
            "arXiv:1801.04381"
        ),
    ),
    Network(name="mobilenet_v3", factory=mobilenet_v3, example_inputs=images(3, 32, 32), published=_MOBILENET_V3),
    Network(
        name="mobilenet_v3_written_out",
        factory=mobilenet_v3_written_out,
        example_inputs=images(3, 16, 16),
        published=f"{_MOBILENET_V3}, equation of h-swish in section 5.2",
    ),
    Network(
        name="efficientnet_lite",
        factory=efficientnet_lite,
        example_inputs=images(3, 32, 32),
        published=(
            "Tan, Le 2019, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML, "
            "arXiv:1905.11946; Lite: Liu 2020, TensorFlow blog, without gates and with ReLU6"
        ),
    ),
    Network(
        name="mnasnet",
        factory=mnasnet,
        example_inputs=images(3, 32, 32),
        published=(
            "Tan, Chen, Pang, Vasudevan, Sandler, Howard, Le 2019, MnasNet: Platform-Aware Neural Architecture Search "
            "for Mobile, CVPR, arXiv:1807.11626"
        ),
    ),
    Network(
        name="shufflenet_v2",
        factory=shufflenet_v2,
        example_inputs=images(3, 32, 32),
        published=(
            "Ma, Zhang, Zheng, Sun 2018, ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design, "
            "ECCV, arXiv:1807.11164"
        ),
    ),
    Network(
        name="ghostnet",
        factory=ghostnet,
        example_inputs=images(3, 32, 32),
        published=(
            "Han, Wang, Tian, Guo, Xu, Xu 2020, GhostNet: More Features from Cheap Operations, CVPR, arXiv:1911.11907"
        ),
    ),
)
