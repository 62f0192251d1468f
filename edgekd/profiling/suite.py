"""Random networks whose operators span those of convolutional networks, for a table of any network's costs.

Operators are measured inside of networks because that is where they run: alone, an operator would also pay for
bringing its input into the layout that the runtime likes, and nothing would be fused with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

_SIDES = (16, 24, 32, 32, 32, 48, 64, 96, 112, 128, 160, 224)
_LEAST_SIDE = 2
_WIDTHS = (8.0, 96.0)
_MOST_CHANNELS = 768
_CLASSES = (2, 10, 100, 1000)
# Networks between the largest asked for and a 32nd of it.
_OCTAVES = 5.0
# Which networks a number stands for changes with this.
SUITE = 3


def suite_shape(number: int) -> tuple[int, int, int]:
    """Return the shape of the input of a network of the suite, without the batch."""
    side = int(np.random.default_rng([number, 0]).choice(_SIDES))
    return 3, side, side


def random_network(number: int, *, most_macs: float) -> nn.Module:
    """Return a network of random stages, the same for the same arguments.

    Args:
        number: Any two differ in blocks, widths, resolution and size.
        most_macs: Multiply-accumulates of the largest networks; widths are scaled for a number drawn below it.
    """
    drawn = np.random.default_rng([number, 1])
    wanted = most_macs * 2.0 ** -drawn.uniform(0.0, _OCTAVES)
    scale = 1.0
    for _ in range(6):  # MACs are nearly quadratic in the widths, so this comes close
        maker = _Maker(side=suite_shape(number)[1], scale=scale, drawn=np.random.default_rng([number, 2]))
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(number)
            module = maker.network()
        scale *= math.sqrt(wanted / maker.macs)
    return module.eval()


class _Sum(nn.Module):
    """The sum of a body and a shortcut, with an activation behind it or none."""

    def __init__(self, body: nn.Module, shortcut: nn.Module, activation: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut, self.activation = body, shortcut, activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.activation(self.body(x) + self.shortcut(x))
        return result


class _Concatenation(nn.Module):
    """The input and what a body makes of it, side by side."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, self.body(x)], dim=1)


class _Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = x * self.body(x)
        return result


@dataclass(slots=True, kw_only=True)
class _Maker:
    """Makes layers one after the other and keeps count of channels, resolution and MACs."""

    side: int
    scale: float
    drawn: np.random.Generator
    channels: int = 3
    macs: float = 0.0
    first_side: int = 0
    activation: type[nn.Module] = field(default=nn.ReLU)

    def network(self) -> nn.Module:
        """Return stem, stages and head."""
        self.first_side = self.side
        self.activation = self._one_of(nn.ReLU, nn.ReLU, nn.ReLU6, nn.Hardswish)
        layers = [self._convolution(self._width(8.0, 64.0), self._one_of(3, 3, 3, 5, 7), 2 if self.side > 64 else 1)]
        for _ in range(int(self.drawn.integers(2, 6))):
            layers += self._stage()
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        if self._happens(0.3):
            layers += [self._linear(self._width(32.0, 1024.0)), self.activation()]
        return nn.Sequential(*layers, self._linear(self._one_of(*_CLASSES)))

    def _stage(self) -> list[nn.Module]:
        make = self._one_of(
            *[self._plain, self._residual, self._bottleneck, self._inverted] * 2, self._dense, self._fire
        )
        # Networks are wider where their maps are smaller.
        grown = (self.first_side / self.side) ** self.drawn.uniform(0.5, 1.3)
        width = self._width(*(grown * bound for bound in _WIDTHS))
        is_halved = self.side >= 2 * _LEAST_SIDE and self._happens(0.75)
        layers: list[nn.Module] = []
        if is_halved and self._happens(0.3):
            layers.append(self._one_of(nn.MaxPool2d, nn.AvgPool2d)(2))
            self.side //= 2
            is_halved = False
        # What a dense block makes is narrow, so there are more of them.
        repeats = self.drawn.integers(2, 7) if make == self._dense else self.drawn.integers(0, 3)
        strides = [2 if is_halved else 1] + [1] * int(repeats)
        return layers + [make(width, stride) for stride in strides]

    def _plain(self, width: int, stride: int) -> nn.Module:
        return self._convolution(width, self._one_of(3, 3, 3, 1, 5), stride)

    def _residual(self, width: int, stride: int) -> nn.Module:
        return self._around(
            width,
            stride,
            lambda: [self._convolution(width, 3, stride), self._convolution(width, 3, is_active=False)],
            self.activation(),
        )

    def _bottleneck(self, width: int, stride: int) -> nn.Module:
        inner = self._rounded(width / 4)
        groups = self._one_of(1, 1, 2, 4)
        inner = max(1, inner // groups) * groups
        return self._around(
            width,
            stride,
            lambda: [
                self._convolution(inner, 1),
                self._convolution(inner, 3, stride, groups=groups),
                self._convolution(width, 1, is_active=False),
            ],
            self.activation(),
        )

    def _inverted(self, width: int, stride: int) -> nn.Module:
        hidden, kernel = self._rounded(self.channels * self._one_of(1, 2, 3, 4, 6)), self._one_of(3, 3, 5)
        has_gate = self._happens(0.25)

        def body() -> list[nn.Module]:
            expanded = self._convolution(hidden, 1)
            depthwise = self._convolution(hidden, kernel, stride, groups=hidden)
            gate = [self._gate()] if has_gate else []
            return [expanded, depthwise, *gate, self._convolution(width, 1, is_active=False)]

        if stride != 1 or width != self.channels:
            return nn.Sequential(*body())
        return self._around(width, stride, body, nn.Identity())

    def _dense(self, width: int, stride: int) -> nn.Module:
        before = self.channels
        first = nn.BatchNorm2d(before), self.activation()
        if stride != 1:
            return nn.Sequential(*first, self._bare(self._rounded(before / 2), 1), self._halving())
        growth = self._rounded(width / 6)
        body = nn.Sequential(*first, self._convolution(4 * growth, 1), self._bare(growth, 3))
        self.channels = before + growth
        return _Concatenation(body)

    def _bare(self, width: int, kernel: int) -> nn.Module:
        """Return a convolution with nothing behind it."""
        layer = nn.Conv2d(self.channels, width, kernel, padding=kernel // 2, bias=False)
        self.macs += layer.weight.numel() * self.side**2
        self.channels = width
        return layer

    def _fire(self, width: int, stride: int) -> nn.Module:
        squeezed = self._convolution(self._rounded(width / 4), 1, stride)
        before = self.channels
        body = self._convolution(width, 3)
        self.channels += before
        return nn.Sequential(squeezed, _Concatenation(body))

    def _around(self, width: int, stride: int, body: Callable[[], list[nn.Module]], activation: nn.Module) -> nn.Module:
        """Return a body with a shortcut beside it, projected where the shapes differ."""
        channels, side = self.channels, self.side
        made = nn.Sequential(*body())
        shortcut: nn.Module = nn.Identity()
        if stride != 1 or width != channels:
            self.channels, self.side = channels, side
            shortcut = self._convolution(width, 1, stride, is_active=False)
        return _Sum(made, shortcut, activation)

    def _gate(self) -> nn.Module:
        channels = self.channels
        squeezed = self._rounded(channels / 4)
        self.macs += 2.0 * channels * squeezed
        return _Gate(
            nn.Sequential(
                nn.AdaptiveAvgPool2d(1),
                nn.Conv2d(channels, squeezed, 1),
                nn.ReLU(),
                nn.Conv2d(squeezed, channels, 1),
                nn.Hardsigmoid(),
            )
        )

    def _convolution(
        self, width: int, kernel: int, stride: int = 1, *, groups: int = 1, is_active: bool = True
    ) -> nn.Module:
        groups = math.gcd(groups, self.channels)
        layer = nn.Conv2d(self.channels, width, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.side = -(-self.side // stride)
        self.macs += layer.weight.numel() * self.side**2
        self.channels = width
        return nn.Sequential(layer, nn.BatchNorm2d(width), *([self.activation()] if is_active else []))

    def _halving(self) -> nn.Module:
        self.side //= 2
        return nn.AvgPool2d(2)

    def _linear(self, width: int) -> nn.Module:
        layer = nn.Linear(self.channels, width)
        self.macs += layer.weight.numel()
        self.channels = width
        return layer

    def _width(self, low: float, high: float) -> int:
        """Return a width, log-uniform; of most networks a multiple of 8, as widths mostly are."""
        width = math.exp(self.drawn.uniform(math.log(low), math.log(high))) * self.scale
        return self._rounded(min(width, _MOST_CHANNELS))

    def _rounded(self, width: float) -> int:
        # Drawn in any case, so that a network of another scale is the same one, wider or narrower.
        is_aligned = self._happens(0.8)
        step = 8 if width >= 4 and is_aligned else 1
        return max(step, round(width / step) * step, 2)

    def _happens(self, probability: float) -> bool:
        return bool(self.drawn.random() < probability)

    def _one_of(self, *choices: Any) -> Any:
        return choices[int(self.drawn.integers(len(choices)))]
