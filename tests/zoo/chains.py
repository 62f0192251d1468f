"""Networks without branches: one layer after the other."""

from __future__ import annotations

from torch import nn

from zoo.network import CLASSES, Network, head, images


def vgg() -> nn.Module:
    """Configuration in the manner of A, with batch norm and a classifier of three layers on the flattened map."""
    layers: list[nn.Module] = []
    channels = 3
    for width in (16, "pool", 24, "pool", 32, 32, "pool"):
        if width == "pool":
            layers.append(nn.MaxPool2d(2, 2))
        else:
            conv = nn.Conv2d(channels, int(width), 3, padding=1)
            layers += [conv, nn.BatchNorm2d(int(width)), nn.ReLU(inplace=True)]
            channels = int(width)
    hidden = [nn.Linear(32 * 16, 48), nn.ReLU(True), nn.Dropout(), nn.Linear(48, 32), nn.ReLU(True), nn.Dropout()]
    return nn.Sequential(nn.Sequential(*layers), nn.Flatten(), *hidden, nn.Linear(32, CLASSES))


def lenet() -> nn.Module:
    """A classifier whose input is a flattened map: several features of each channel."""
    body = [nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2)]
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(16 * 2 * 2, 24), nn.Tanh(), nn.Linear(24, CLASSES))


def _separable(inputs: int, outputs: int) -> list[nn.Module]:
    depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs)
    pointwise = nn.Conv2d(inputs, outputs, 1)
    return [depthwise, nn.BatchNorm2d(inputs), nn.ReLU(), pointwise, nn.BatchNorm2d(outputs), nn.ReLU()]


def ds_cnn() -> nn.Module:
    """Keyword spotting on 49 frames of 10 cepstral coefficients, as a one-channel image."""
    stem = [nn.Conv2d(1, 24, (10, 4), stride=(2, 2), padding=(5, 1)), nn.BatchNorm2d(24), nn.ReLU()]
    return nn.Sequential(*stem, *_separable(24, 24), *_separable(24, 24), head(24))


def _separable_1d(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    depthwise = nn.Conv1d(inputs, inputs, 9, stride=stride, padding=4, groups=inputs, bias=False)
    pointwise = nn.Conv1d(inputs, outputs, 1, bias=False)
    return [depthwise, pointwise, nn.BatchNorm1d(outputs), nn.ReLU()]


def keyword_1d() -> nn.Module:
    """Keyword spotting along time: the cepstral coefficients are channels of a one-dimensional convolution."""
    stem = [nn.Conv1d(10, 16, 3, padding=1, bias=False), nn.BatchNorm1d(16), nn.ReLU()]
    body = [*_separable_1d(16, 24, 2), *_separable_1d(24, 32, 2)]
    return nn.Sequential(*stem, *body, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, CLASSES))


NETWORKS = (
    Network(
        name="vgg",
        factory=vgg,
        example_inputs=images(3, 32, 32),
        published=(
            "Simonyan, Zisserman 2015, Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR, "
            "arXiv:1409.1556; batch norm: Ioffe, Szegedy 2015, ICML, arXiv:1502.03167"
        ),
    ),
    Network(
        name="lenet",
        factory=lenet,
        example_inputs=images(1, 16, 16),
        published=(
            "LeCun, Bottou, Bengio, Haffner 1998, Gradient-Based Learning Applied to Document Recognition, "
            "Proceedings of the IEEE"
        ),
    ),
    Network(
        name="ds_cnn",
        factory=ds_cnn,
        example_inputs=images(1, 49, 10),
        published=(
            "Zhang, Suda, Lai, Chandra 2017, Hello Edge: Keyword Spotting on Microcontrollers, arXiv:1711.07128"
        ),
    ),
    Network(
        name="keyword_1d",
        factory=keyword_1d,
        example_inputs=images(10, 49),
        published=(
            "Choi, Seo, Shin, Byun, Kersner, Kim, Kim, Ha 2019, Temporal Convolution for Real-time Keyword Spotting "
            "on Mobile Devices, Interspeech, arXiv:1904.03814, with separable convolutions and without shortcuts"
        ),
    ),
)
