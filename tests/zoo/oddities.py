"""What trained networks contain besides the textbook: shared weights, reshapes, rare norms, several inputs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from zoo.network import CLASSES, Inputs, Network, conv_norm, head, images


class _CalledTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.twice, self.last = conv_norm(3, 12), nn.Conv2d(12, 12, 3, padding=1), conv_norm(12, 16)
        self.head = head(16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(self.twice(F.relu(self.twice(x))))
        return self.head(F.relu(self.last(x)))


def called_twice() -> nn.Module:
    """One convolution called twice, so that its inputs and outputs are the same channels."""
    return _CalledTwice()


class _SharedWeights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first, self.second = conv_norm(3, 12), nn.Conv2d(12, 16, 1), nn.Conv2d(12, 16, 1)
        self.second.weight = self.first.weight
        self.last, self.head = conv_norm(16, 16), head(16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(self.first(x)) + F.relu(self.second(F.max_pool2d(x, 3, 1, 1)))
        return self.head(F.relu(self.last(x)))


def shared_weights() -> nn.Module:
    """Two convolutions with one weight and two biases."""
    return _SharedWeights()


class _ReusedActivation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.layers = nn.ModuleList([conv_norm(3, 10), conv_norm(10, 14), conv_norm(14, 14)])
        self.head = head(14)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = self.relu(layer(x))
        return self.head(x)


def reused_activation() -> nn.Module:
    """One activation object after every layer."""
    return _ReusedActivation()


class _Reshapes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mix = conv_norm(3, 12), nn.Linear(12, 32)
        self.last, self.head = conv_norm(16, 20), head(20)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        batch, channels, height, width = x.shape
        x = self.mix(x.view(batch, channels, height * width).permute(0, 2, 1))
        x = x.transpose(1, 2).reshape(batch, -1, height, width)
        value, gate = x.chunk(2, 1)
        return self.head(F.relu(self.last(value * torch.sigmoid(gate))))


def reshapes() -> nn.Module:
    """`view`, `permute`, `reshape` and `chunk` between layers: a linear layer on pixels, a gated linear unit."""
    return _Reshapes()


def instance_norm() -> nn.Module:
    """A norm of every channel by itself, with affine parameters."""
    layers = [nn.Conv2d(3, 12, 3, padding=1), nn.InstanceNorm2d(12, affine=True), nn.ReLU(), nn.Conv2d(12, 16, 3)]
    return nn.Sequential(*layers, nn.InstanceNorm2d(16, affine=True), nn.ReLU(), head(16))


def group_norm() -> nn.Module:
    """A norm over groups of four channels."""
    layers = [nn.Conv2d(3, 12, 3, padding=1), nn.GroupNorm(3, 12), nn.ReLU(), nn.Conv2d(12, 16, 3), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(16, 16, 3), nn.GroupNorm(4, 16), nn.ReLU(), head(16))


def prelu() -> nn.Module:
    """A learned slope for each channel."""
    layers = [conv_norm(3, 12), nn.PReLU(12), nn.MaxPool2d(2), conv_norm(12, 16), nn.PReLU(16)]
    return nn.Sequential(*layers, head(16))


def prelu_single() -> nn.Module:
    """A learned slope for all channels."""
    layers = [conv_norm(3, 12), nn.PReLU(), nn.MaxPool2d(2), conv_norm(12, 16), nn.PReLU()]
    return nn.Sequential(*layers, head(16))


def one_channel() -> nn.Module:
    """Convolutions from, to and between single channels; with one group each, none of them is depthwise."""
    layers = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1), nn.BatchNorm2d(1), nn.ReLU()]
    layers += [nn.Conv2d(1, 1, 3, padding=1), nn.ReLU(), nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU()]
    return nn.Sequential(*layers, head(12))


class _Fusion(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.color = nn.Sequential(conv_norm(3, 12), nn.ReLU(), conv_norm(12, 16, stride=2), nn.ReLU())
        self.depth = nn.Sequential(conv_norm(1, 8), nn.ReLU(), conv_norm(8, 16, stride=2), nn.ReLU())
        self.joined, self.head = conv_norm(16, 20), head(20)

    def forward(self, color: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
        return self.head(F.relu(self.joined(self.color(color) + self.depth(depth))))


def fusion() -> nn.Module:
    """A color image and a depth image, whose branches are summed."""
    return _Fusion()


def _color_and_depth(batch: int, seed: int) -> Inputs:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(batch, channels, 16, 16, generator=generator) for channels in (3, 1))


class _DictInput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image, self.sensors = nn.Sequential(conv_norm(3, 12), nn.ReLU()), nn.Linear(6, 10)
        self.hidden, self.classify = nn.Linear(22, 16), nn.Linear(16, CLASSES)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        pooled = F.adaptive_avg_pool2d(self.image(batch["image"]), 1).flatten(1)
        joined = torch.cat((pooled, F.relu(self.sensors(batch["sensors"]))), 1)
        return self.classify(F.relu(self.hidden(joined)))


def dict_input() -> nn.Module:
    """One argument, a dict of an image and a vector of sensor values."""
    return _DictInput()


def _image_and_sensors(batch: int, seed: int) -> Inputs:
    generator = torch.Generator().manual_seed(seed)
    return {
        "image": torch.randn(batch, 3, 16, 16, generator=generator),
        "sensors": torch.randn(batch, 6, generator=generator),
    }


class _Embedder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_norm(3, 12), nn.ReLU(), conv_norm(12, 20, stride=2), nn.ReLU())
        self.embed = nn.Linear(20, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.embed(self.body(x).mean((2, 3))), dim=1)


def embedder() -> nn.Module:
    """Answers a vector of length 1, to be compared with others."""
    return _Embedder()


class _TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_norm(3, 12), nn.ReLU(), conv_norm(12, 20, stride=2), nn.ReLU())
        self.labels, self.regression = head(20), head(20)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.body(x)
        return {"labels": self.labels(x), "regression": self.regression(x)}


def two_heads() -> nn.Module:
    """Two heads on one body, answered as a dict: independent labels and a regression."""
    return _TwoHeads()


NETWORKS = (
    Network(
        name="called_twice",
        factory=called_twice,
        example_inputs=images(3, 16, 16),
        published="Liang, Hu 2015, Recurrent Convolutional Neural Network for Object Recognition, CVPR",
    ),
    Network(
        name="shared_weights",
        factory=shared_weights,
        example_inputs=images(3, 16, 16),
        published="Press, Wolf 2017, Using the Output Embedding to Improve Language Models, EACL, arXiv:1608.05859",
    ),
    Network(
        name="reused_activation",
        factory=reused_activation,
        example_inputs=images(3, 16, 16),
        published="Nair, Hinton 2010, Rectified Linear Units Improve Restricted Boltzmann Machines, ICML",
    ),
    Network(
        name="reshapes",
        factory=reshapes,
        example_inputs=images(3, 16, 16),
        published=(
            "Dauphin, Fan, Auli, Grangier 2017, Language Modeling with Gated Convolutional Networks, ICML, "
            "arXiv:1612.08083"
        ),
    ),
    Network(
        name="instance_norm",
        factory=instance_norm,
        example_inputs=images(3, 16, 16),
        published=(
            "Ulyanov, Vedaldi, Lempitsky 2016, Instance Normalization: The Missing Ingredient for Fast Stylization, "
            "arXiv:1607.08022"
        ),
    ),
    Network(
        name="group_norm",
        factory=group_norm,
        example_inputs=images(3, 16, 16),
        published="Wu, He 2018, Group Normalization, ECCV, arXiv:1803.08494",
    ),
    Network(
        name="prelu",
        factory=prelu,
        example_inputs=images(3, 16, 16),
        published=(
            "He, Zhang, Ren, Sun 2015, Delving Deep into Rectifiers: Surpassing Human-Level Performance on ImageNet "
            "Classification, ICCV, arXiv:1502.01852, a slope for each channel"
        ),
    ),
    Network(
        name="prelu_single",
        factory=prelu_single,
        example_inputs=images(3, 16, 16),
        published=(
            "He, Zhang, Ren, Sun 2015, Delving Deep into Rectifiers: Surpassing Human-Level Performance on ImageNet "
            "Classification, ICCV, arXiv:1502.01852, one slope for all channels"
        ),
    ),
    Network(
        name="one_channel",
        factory=one_channel,
        example_inputs=images(1, 16, 16),
        published="Woo, Park, Lee, Kweon 2018, CBAM: Convolutional Block Attention Module, ECCV, arXiv:1807.06521",
    ),
    Network(
        name="fusion",
        factory=fusion,
        example_inputs=_color_and_depth,
        published=(
            "Hazirbas, Ma, Domokos, Cremers 2016, FuseNet: Incorporating Depth into Semantic Segmentation via "
            "Fusion-Based CNN Architecture, ACCV"
        ),
    ),
    Network(
        name="dict_input",
        factory=dict_input,
        example_inputs=_image_and_sensors,
        published="Ngiam, Khosla, Kim, Nam, Lee, Ng 2011, Multimodal Deep Learning, ICML",
    ),
    Network(
        name="embedder",
        factory=embedder,
        example_inputs=images(3, 16, 16),
        published=(
            "Schroff, Kalenichenko, Philbin 2015, FaceNet: A Unified Embedding for Face Recognition and Clustering, "
            "CVPR, arXiv:1503.03832"
        ),
        left_whole=(("embed", "its length is normalized over all features"),),
    ),
    Network(
        name="two_heads",
        factory=two_heads,
        example_inputs=images(3, 16, 16),
        published="Caruana 1997, Multitask Learning, Machine Learning",
        left_whole=(("labels.2", "an output"), ("regression.2", "an output")),
    ),
)
