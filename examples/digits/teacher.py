"""Train a small network on scikit-learn's digits and save it as a user would bring it: a `.pt2` and a data file.

    python examples/digits/teacher.py FOLDER

writes `digits.npz` (1,797 images of 8 x 8, in the scikit-learn wheel; the last 360 are the test part) and
`teacher.pt2` with its card `teacher.json`. Seeded; takes about ten seconds on two cores.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

MEAN, STD = 0.3054, 0.3753  # of the training images, scaled to [0, 1]
TEST_IMAGES = 360
EPOCHS = 30


class Block(nn.Module):
    """Two convolutions and a shortcut; where channels grow, the shortcut pads them with zeros."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride = stride
        self.pad = (outputs - inputs) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return `[batch, outputs, height / stride, width / stride]`."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        return F.relu(y + F.pad(shortcut, [0, 0, 0, 0, self.pad, self.pad]))


class DigitsNet(nn.Module):
    """A CIFAR-style ResNet with 7 layers for 8 x 8 images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(16)
        self.blocks = nn.Sequential(Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits `[batch, 10]` of `[batch, 1, 8, 8]`."""
        x = self.blocks(F.relu(self.bn(self.conv(x))))
        return self.linear(x.mean(dim=(2, 3)))


def write_digits(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Write the data file and return the training images, scaled to [0, 1], and labels."""
    digits = load_digits()
    pixels = np.round(digits.images / 16.0 * 255.0).astype(np.uint8)
    labels = digits.target.astype(np.int64)
    parts = {"train": slice(None, -TEST_IMAGES), "test": slice(-TEST_IMAGES, None)}
    arrays = {f"x_{name}": pixels[part] for name, part in parts.items()}
    arrays |= {f"y_{name}": labels[part] for name, part in parts.items()}
    np.savez(path, **arrays)
    x = torch.from_numpy(arrays["x_train"]).float()[:, None] / 255.0
    return x, torch.from_numpy(arrays["y_train"])


def train_teacher(x: torch.Tensor, y: torch.Tensor, *, epochs: int = EPOCHS, seed: int = 0) -> nn.Module:
    """Return the network trained on images `[n, 1, 8, 8]` in [0, 1]."""
    torch.manual_seed(seed)
    network = DigitsNet()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    batch = 64
    steps = epochs * (len(x) // batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    x = (x - MEAN) / STD
    for _ in range(epochs):
        for index in torch.randperm(len(x)).split(batch)[: len(x) // batch]:
            loss = F.cross_entropy(network(x[index]), y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def save_teacher(network: nn.Module, path: Path) -> None:
    """Write the `.pt2` and its card."""
    batch = {0: torch.export.Dim("batch", min=1, max=4096)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(network, (torch.zeros(2, 1, 8, 8),), dynamic_shapes=(batch,))
        torch.export.save(program, path)
    card = {"input": {"shape": ["N", 1, 8, 8], "mean": [MEAN], "std": [STD]}}
    path.with_suffix(".json").write_text(json.dumps(card, indent=1) + "\n")


def main() -> None:
    """Write the files into the folder named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    x, y = write_digits(folder / "digits.npz")
    save_teacher(train_teacher(x, y), folder / "teacher.pt2")
    print(f"{folder / 'teacher.pt2'} and {folder / 'digits.npz'} written")  # noqa: T201  (a script's answer)


if __name__ == "__main__":
    main()
