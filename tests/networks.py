"""Small networks of every shape the library promises to handle, with weights that make mistakes visible.

Each takes images of 3 x 8 x 8 and answers 5 classes. Batch norms have random statistics and affine parameters, as in
a trained network: with fresh ones (mean 0, variance 1, scale 1, shift 0) most mistakes in cutting them would not show.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import fx, nn

from edgekd.models.exported import export_program
from edgekd.models.rewrite import rebuild
from edgekd.records import TensorSpec

INPUT_SHAPE = (3, 8, 8)
EXAMPLES = (torch.zeros(2, *INPUT_SHAPE),)
INPUTS = (TensorSpec(name="input", shape=INPUT_SHAPE),)
CLASSES = 5


def build(name: str, seed: int = 0) -> nn.Module:
    """Return the network of that name in evaluation mode, with weights drawn from `seed`."""
    generator = torch.Generator().manual_seed(seed)
    network = NETWORKS[name]()
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            fan_in = module.weight[0].numel()
            _draw(module.weight, generator, scale=(2.0 / fan_in) ** 0.5)
            if module.bias is not None:
                _draw(module.bias, generator, scale=0.3)
        elif isinstance(module, nn.BatchNorm2d):
            for tensor, center, scale in (
                (module.weight, 1.0, 0.3),
                (module.bias, 0.0, 0.3),
                (module.running_mean, 0.0, 0.3),
            ):
                _draw(tensor, generator, center=center, scale=scale)
            with torch.no_grad():
                module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=generator))
    return network.eval()


@functools.cache
def rebuilt(name: str) -> fx.GraphModule:
    """Return `build(name)` as real modules. Built once for all tests, none of which may change it."""
    return rebuild(export_program(build(name), EXAMPLES))


def images(count: int, seed: int = 0) -> torch.Tensor:
    """Return standard normal inputs, `[count, 3, 8, 8]`."""
    return torch.randn(count, *INPUT_SHAPE, generator=torch.Generator().manual_seed(seed))


def _draw(tensor: torch.Tensor, generator: torch.Generator, *, center: float = 0.0, scale: float) -> None:
    with torch.no_grad():
        tensor.copy_(center + scale * torch.randn(tensor.shape, generator=generator))


def _conv_norm(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


def _head(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


def plain() -> nn.Module:
    """VGG: convolutions in a row, one of them with a bias, in-place activations, two kinds of pooling."""
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1, bias=False),
        nn.BatchNorm2d(12),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(12, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(inplace=True),
        nn.AvgPool2d(2),
        nn.Conv2d(16, 20, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(20 * 2 * 2, CLASSES),
    )


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: nn.Module) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu_(out)


class _PaddedShortcut(nn.Module):
    """He et al. 2016, section 4.2, option A: every second pixel, and zeros for the channels that are missing."""

    def __init__(self, front: int, back: int) -> None:
        super().__init__()
        self.front, self.back = front, back

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.front, self.back))


def residual() -> nn.Module:
    """Two blocks with identity shortcuts: one set of channels through the whole network."""
    blocks = [_Block(12, 12, 1, nn.Identity()) for _ in range(2)]
    return nn.Sequential(_conv_norm(3, 12), nn.ReLU(), *blocks, _head(12))


def projection() -> nn.Module:
    """A block whose shortcut is a strided 1x1 convolution, then one with an identity."""
    blocks = [_Block(8, 16, 2, _conv_norm(8, 16, 1, stride=2)), _Block(16, 16, 1, nn.Identity())]
    return nn.Sequential(_conv_norm(3, 8), nn.ReLU(), *blocks, _head(16))


def padded() -> nn.Module:
    """Shortcuts that pad channels, once on both sides and once behind only."""
    blocks = [
        _Block(8, 16, 2, _PaddedShortcut(4, 4)),
        _Block(16, 16, 1, nn.Identity()),
        _Block(16, 24, 2, _PaddedShortcut(0, 8)),
    ]
    return nn.Sequential(_conv_norm(3, 8), nn.ReLU(), *blocks, _head(24))


class _DenseLayer(nn.Module):
    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = nn.Conv2d(inputs, growth, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, self.conv(F.relu(self.norm(x)))], 1)


def concat() -> nn.Module:
    """DenseNet: each layer reads what all before it made."""
    layers = [_DenseLayer(8, 6), _DenseLayer(14, 6)]
    transition = [nn.BatchNorm2d(20), nn.ReLU(), nn.Conv2d(20, 10, 1, bias=False), nn.AvgPool2d(2)]
    return nn.Sequential(_conv_norm(3, 8), nn.ReLU(), *layers, *transition, _head(10))


class _InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.expand = nn.Sequential(_conv_norm(inputs, 24, 1), nn.ReLU6(inplace=True))
        self.depthwise = nn.Sequential(_conv_norm(24, 24, 3, stride=stride, groups=24), nn.ReLU6(inplace=True))
        self.project = _conv_norm(24, outputs, 1)
        self.has_shortcut = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.project(self.depthwise(self.expand(x)))
        return x + out if self.has_shortcut else out


def depthwise() -> nn.Module:
    """MobileNetV2: depthwise convolutions between 1x1 ones, ReLU6, shortcuts between narrow ends."""
    blocks = [_InvertedResidual(8, 8, 1), _InvertedResidual(8, 12, 2)]
    return nn.Sequential(_conv_norm(3, 8), nn.ReLU6(), *blocks, _conv_norm(12, 20, 1), nn.ReLU6(), _head(20))


class _GroupedBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.reduce, self.middle, self.widen = _conv_norm(8, 16, 1), _conv_norm(16, 16, groups=4), _conv_norm(16, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.widen(F.relu(self.middle(F.relu(self.reduce(x))))))


def grouped() -> nn.Module:
    """ResNeXt: 3x3 convolutions in four groups of four channels."""
    return nn.Sequential(_conv_norm(3, 8), nn.ReLU(), _GroupedBlock(), _GroupedBlock(), _head(8))


class _SqueezeExcite(nn.Module):
    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * F.hardsigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))


def squeeze_excite() -> nn.Module:
    """MobileNetV3: channels scaled by a function of their own means."""
    body = [_conv_norm(3, 12), nn.Hardswish(), _SqueezeExcite(12, 6), _conv_norm(12, 12), nn.Hardswish()]
    return nn.Sequential(*body, _head(12))


def flattened() -> nn.Module:
    """A classifier on a flattened map: four features of each channel, and hidden units to prune too."""
    body = [_conv_norm(3, 10), nn.ReLU(), nn.MaxPool2d(2), _conv_norm(10, 12), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(12 * 2 * 2, 24), nn.ReLU(), nn.Linear(24, CLASSES))


class _Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv_norm(3, 12)
        self.twice = nn.Conv2d(12, 12, 3, padding=1)
        self.last = _conv_norm(12, 16)
        self.head = _head(16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(self.twice(F.relu(self.twice(x))))
        return self.head(F.relu(self.last(x)))


def shared() -> nn.Module:
    """One convolution called twice, so that its inputs and outputs are the same channels."""
    return _Shared()


class _Unknown(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before, self.reader, self.after = _conv_norm(3, 10), _conv_norm(10, 12), _conv_norm(12, 14)
        self.head = _head(14)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.roll(F.relu(self.before(x)), 3, 1)
        return self.head(F.relu(self.after(F.relu(self.reader(x)))))


def unknown() -> nn.Module:
    """An operator in the middle that mixes channels and that pruning does not follow."""
    return _Unknown()


class _PreActivation(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(channels), nn.Conv2d(channels, 14, 3, padding=1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(14), nn.Conv2d(14, channels, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))


def preactivation() -> nn.Module:
    """Batch norm before the convolution: it reads channels that a sum made."""
    blocks = [_PreActivation(10), _PreActivation(10)]
    return nn.Sequential(nn.Conv2d(3, 10, 3, padding=1), *blocks, nn.BatchNorm2d(10), nn.ReLU(), _head(10))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    factory.__name__: factory
    for factory in (
        *(plain, residual, projection, padded, concat, depthwise, grouped),
        *(squeeze_excite, flattened, shared, unknown, preactivation),
    )
}
