"""Networks that answer for every place: segmentation and detection."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from zoo.network import CLASSES, Network, conv_norm, images


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(conv_norm(inputs, outputs), nn.ReLU(), conv_norm(outputs, outputs), nn.ReLU())


class _UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.bottom = _double(3, 8), _double(8, 16), _double(16, 24)
        self.up2, self.join2 = nn.ConvTranspose2d(24, 16, 2, stride=2), _double(32, 16)
        self.up1, self.join1 = nn.ConvTranspose2d(16, 8, 2, stride=2), _double(16, 8)
        self.classify = nn.Conv2d(8, CLASSES, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.down1(x)
        second = self.down2(F.max_pool2d(first, 2))
        x = self.bottom(F.max_pool2d(second, 2))
        x = self.join2(torch.cat((second, self.up2(x)), 1))
        return self.classify(self.join1(torch.cat((first, self.up1(x)), 1)))


def unet() -> nn.Module:
    """Transposed convolutions up, skips that are concatenated, logits for every pixel."""
    return _UNet()


class _Detector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_norm(3, 12, stride=2), nn.ReLU(), conv_norm(12, 16, stride=2), nn.ReLU())
        self.deeper = nn.Sequential(conv_norm(16, 24, stride=2), nn.ReLU())
        self.lateral_fine, self.lateral_coarse = nn.Conv2d(16, 16, 1), nn.Conv2d(24, 16, 1)
        self.smooth = nn.Conv2d(16, 16, 3, padding=1)
        self.classes_tower, self.boxes_tower = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.classes = nn.Conv2d(16, CLASSES, 3, padding=1)
        self.boxes, self.center = nn.Conv2d(16, 4, 3, padding=1), nn.Conv2d(16, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        fine = self.stem(x)
        coarse = self.lateral_coarse(self.deeper(fine))
        fine = self.smooth(self.lateral_fine(fine) + F.interpolate(coarse, scale_factor=2.0, mode="nearest"))
        scales = [self._answers(scale) for scale in (fine, coarse)]
        classes, boxes, centers = (torch.cat(parts, 1) for parts in zip(*scales, strict=True))
        return classes, boxes, centers

    def _answers(self, scale: torch.Tensor) -> tuple[torch.Tensor, ...]:
        classes = self.classes(F.relu(self.classes_tower(scale)))
        tower = F.relu(self.boxes_tower(scale))
        maps = (classes, F.relu(self.boxes(tower)), self.center(tower))
        return tuple(part.permute(0, 2, 3, 1).reshape(part.shape[0], -1, part.shape[1]) for part in maps)


def detector() -> nn.Module:
    """Two scales of a feature pyramid and one head for both: classes, distances to the box, centerness."""
    return _Detector()


NETWORKS = (
    Network(
        name="unet",
        factory=unet,
        example_inputs=images(3, 32, 32),
        published=(
            "Ronneberger, Fischer, Brox 2015, U-Net: Convolutional Networks for Biomedical Image Segmentation, MICCAI, "
            "arXiv:1505.04597"
        ),
    ),
    Network(
        name="detector",
        factory=detector,
        example_inputs=images(3, 32, 32),
        published=(
            "Tian, Shen, Chen, He 2019, FCOS: Fully Convolutional One-Stage Object Detection, ICCV, arXiv:1904.01355; "
            "pyramid: Lin et al. 2017, CVPR, arXiv:1612.03144"
        ),
        left_whole=(("classes", "its map is an output"), ("boxes", "its map is an output")),
    ),
)
