"""Networks whose blocks add what they read to what they make."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from zoo.network import Network, conv_norm, head, images


class _PaddedShortcut(nn.Module):
    """Option A: every second pixel, and zeros for the channels that are missing."""

    def __init__(self, missing: int) -> None:
        super().__init__()
        self.missing = missing

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.missing // 2, self.missing - self.missing // 2))


class _BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: nn.Module) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += self.shortcut(x)
        return self.relu(out)


def resnet(blocks_per_stage: int, widths: tuple[int, ...] = (8, 16, 32), *, padded: bool = True) -> nn.Module:
    """Return the CIFAR ResNet of `2 * stages * blocks_per_stage + 2` layers, with shortcuts of option A or B."""
    layers: list[nn.Module] = [conv_norm(3, widths[0]), nn.ReLU()]
    channels = widths[0]
    for width in widths:
        for _ in range(blocks_per_stage):
            stride = 1 if width == channels else 2
            shortcut: nn.Module = nn.Identity()
            if width != channels:
                shortcut = _PaddedShortcut(width - channels) if padded else conv_norm(channels, width, 1, stride=2)
            layers.append(_BasicBlock(channels, width, stride, shortcut))
            channels = width
    return nn.Sequential(*layers, head(channels))


def resnet_a() -> nn.Module:
    """Shortcuts that pad channels with zeros."""
    return resnet(1)


def resnet_b() -> nn.Module:
    """Shortcuts that are strided 1x1 convolutions where the shape changes."""
    return resnet(2, (8, 16), padded=False)


class _PreActivation(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        has_projection = stride != 1 or inputs != outputs
        self.project = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False) if has_projection else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        active = F.relu(self.norm1(x))
        shortcut = x if self.project is None else self.project(active)
        return shortcut + self.conv2(F.relu(self.norm2(self.conv1(active))))


def preactivation() -> nn.Module:
    """Batch norm before the convolution, so that it reads sums; a clean path through the network."""
    blocks = [_PreActivation(12, 12, 1), _PreActivation(12, 20, 2), _PreActivation(20, 20, 1)]
    return nn.Sequential(nn.Conv2d(3, 12, 3, padding=1, bias=False), *blocks, nn.BatchNorm2d(20), nn.ReLU(), head(20))


class SqueezeExcite(nn.Module):
    """Scale channels by a function of their own means."""

    def __init__(self, channels: int, squeezed: int, gate: nn.Module) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)
        self.gate = gate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        means = F.adaptive_avg_pool2d(x, 1)
        return x * self.gate(self.excite(F.relu(self.squeeze(means))))


class _GroupedBottleneck(nn.Module):
    def __init__(self, inputs: int, middle: int, outputs: int, stride: int, groups: int, squeezed: int = 0) -> None:
        super().__init__()
        self.reduce = conv_norm(inputs, middle, 1)
        self.grouped = conv_norm(middle, middle, 3, stride=stride, groups=groups)
        self.attend = SqueezeExcite(middle, squeezed, nn.Sigmoid()) if squeezed else nn.Identity()
        self.widen = conv_norm(middle, outputs, 1)
        is_same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if is_same else conv_norm(inputs, outputs, 1, stride=stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.attend(F.relu(self.grouped(F.relu(self.reduce(x)))))
        return F.relu(self.widen(out) + self.shortcut(x))


def resnext() -> nn.Module:
    """Bottlenecks whose 3x3 convolutions have four groups."""
    blocks = [_GroupedBottleneck(8, 16, 24, 1, 4), _GroupedBottleneck(24, 32, 48, 2, 4)]
    return nn.Sequential(conv_norm(3, 8), nn.ReLU(), *blocks, _GroupedBottleneck(48, 32, 48, 1, 4), head(48))


def regnet() -> nn.Module:
    """RegNetY: bottleneck ratio 1, groups of a fixed width of 8, squeeze-and-excitation after the grouped one."""
    blocks = [_GroupedBottleneck(16, 24, 24, 2, 3, squeezed=10), _GroupedBottleneck(24, 32, 32, 2, 4, squeezed=8)]
    return nn.Sequential(conv_norm(3, 16, stride=2), nn.ReLU(), *blocks, head(32))


class _DenseLayer(nn.Module):
    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(4 * growth), nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        x = self.conv1(F.relu(self.norm1(torch.cat(features, 1))))
        return self.conv2(F.relu(self.norm2(x)))


class _DenseBlock(nn.Module):
    def __init__(self, inputs: int, growth: int, count: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([_DenseLayer(inputs + i * growth, growth) for i in range(count)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = [x]
        for layer in self.layers:
            features.append(layer(features))
        return torch.cat(features, 1)


def densenet(layers_per_block: int, growth: int = 6, blocks: int = 2) -> nn.Module:
    """Return DenseNet-BC: bottlenecks of four times the growth, transitions that halve the channels."""
    channels = 2 * growth
    modules: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1, bias=False)]
    for block in range(blocks):
        modules.append(_DenseBlock(channels, growth, layers_per_block))
        channels += layers_per_block * growth
        if block < blocks - 1:
            reduce = nn.Conv2d(channels, channels // 2, 1, bias=False)
            modules += [nn.BatchNorm2d(channels), nn.ReLU(), reduce, nn.AvgPool2d(2)]
            channels //= 2
    return nn.Sequential(*modules, nn.BatchNorm2d(channels), nn.ReLU(), head(channels))


def densenet_bc() -> nn.Module:
    """Each layer reads the concatenation of all before it."""
    return densenet(3)


NETWORKS = (
    Network(
        name="resnet_a",
        factory=resnet_a,
        example_inputs=images(3, 16, 16),
        published=(
            "He, Zhang, Ren, Sun 2016, Deep Residual Learning for Image Recognition, CVPR, arXiv:1512.03385, "
            "section 4.2, shortcut option A"
        ),
    ),
    Network(
        name="resnet_b",
        factory=resnet_b,
        example_inputs=images(3, 16, 16),
        published=(
            "He, Zhang, Ren, Sun 2016, Deep Residual Learning for Image Recognition, CVPR, arXiv:1512.03385, "
            "shortcut option B"
        ),
    ),
    Network(
        name="preactivation",
        factory=preactivation,
        example_inputs=images(3, 16, 16),
        published="He, Zhang, Ren, Sun 2016, Identity Mappings in Deep Residual Networks, ECCV, arXiv:1603.05027",
    ),
    Network(
        name="resnext",
        factory=resnext,
        example_inputs=images(3, 16, 16),
        published=(
            "Xie, Girshick, Dollár, Tu, He 2017, Aggregated Residual Transformations for Deep Neural Networks, CVPR, "
            "arXiv:1611.05431"
        ),
    ),
    Network(
        name="regnet",
        factory=regnet,
        example_inputs=images(3, 32, 32),
        published=(
            "Radosavovic, Kosaraju, Girshick, He, Dollár 2020, Designing Network Design Spaces, CVPR, arXiv:2003.13678"
        ),
    ),
    Network(
        name="densenet",
        factory=densenet_bc,
        example_inputs=images(3, 16, 16),
        published=(
            "Huang, Liu, van der Maaten, Weinberger 2017, Densely Connected Convolutional Networks, CVPR, "
            "arXiv:1608.06993"
        ),
    ),
)
