"""Networks whose blocks read one map several ways and lay the answers side by side."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from zoo.network import CLASSES, Network, conv_norm, head, images


class _Inception(nn.Module):
    def __init__(self, inputs: int, direct: int, three: tuple[int, int], five: tuple[int, int], pooled: int) -> None:
        super().__init__()
        self.direct = nn.Sequential(conv_norm(inputs, direct, 1), nn.ReLU())
        self.three = nn.Sequential(conv_norm(inputs, three[0], 1), nn.ReLU(), conv_norm(*three), nn.ReLU())
        self.five = nn.Sequential(conv_norm(inputs, five[0], 1), nn.ReLU(), conv_norm(*five, 5), nn.ReLU())
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv_norm(inputs, pooled, 1), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.direct(x), self.three(x), self.five(x), self.pooled(x)], 1)


def googlenet() -> nn.Module:
    """Inception modules of four branches, pooling that rounds up."""
    first = _Inception(12, 8, (6, 12), (4, 6), 6)
    second = _Inception(32, 12, (8, 16), (4, 8), 8)
    pools = nn.MaxPool2d(3, 2, ceil_mode=True), nn.MaxPool2d(3, 2, ceil_mode=True)
    classify = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.4), nn.Linear(44, CLASSES)]
    return nn.Sequential(conv_norm(3, 12), nn.ReLU(), pools[0], first, pools[1], second, *classify)


class _Fire(nn.Module):
    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.one = nn.Conv2d(squeezed, expanded, 1)
        self.three = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.squeeze(x), inplace=True)
        return torch.cat((F.relu(self.one(x)), F.relu(self.three(x))), 1)


def squeezenet() -> nn.Module:
    """Fire modules, no batch norm, and a convolution for a classifier, whose pooled map is the answer."""
    body = [nn.Conv2d(3, 12, 3, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), _Fire(12, 6, 12)]
    classify = [nn.Dropout(0.5), nn.Conv2d(32, CLASSES, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*body, _Fire(24, 8, 16), *classify)


class _Maxout(nn.Module):
    """Two convolutions of one map, of which the larger value counts."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.left, self.right = conv_norm(inputs, outputs), conv_norm(inputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.maximum(self.left(x), self.right(x))


def maxout() -> nn.Module:
    """The larger of two maps, value by value."""
    return nn.Sequential(_Maxout(3, 12), nn.MaxPool2d(2), _Maxout(12, 16), head(16))


NETWORKS = (
    Network(
        name="googlenet",
        factory=googlenet,
        example_inputs=images(3, 32, 32),
        published=(
            "Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich 2015, Going Deeper with "
            "Convolutions, CVPR, arXiv:1409.4842"
        ),
    ),
    Network(
        name="squeezenet",
        factory=squeezenet,
        example_inputs=images(3, 32, 32),
        published=(
            "Iandola, Han, Moskewicz, Ashraf, Dally, Keutzer 2016, SqueezeNet: AlexNet-level Accuracy with 50x Fewer "
            "Parameters and <0.5MB Model Size, arXiv:1602.07360"
        ),
        left_whole=(("6", "its pooled map is the output"),),
    ),
    Network(
        name="maxout",
        factory=maxout,
        example_inputs=images(3, 16, 16),
        published=("Goodfellow, Warde-Farley, Mirza, Courville, Bengio 2013, Maxout Networks, ICML, arXiv:1302.4389"),
    ),
)
