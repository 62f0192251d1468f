"""Networks with a recurrent part."""

from __future__ import annotations

import torch
from torch import nn

from zoo.network import CLASSES, Network, images


class _Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        front = [nn.Conv1d(10, 16, 5, padding=2, bias=False), nn.BatchNorm1d(16), nn.ReLU()]
        self.front = nn.Sequential(*front, nn.Conv1d(16, 24, 3, stride=2, padding=1), nn.ReLU())
        self.recurrent = nn.LSTM(24, 20, batch_first=True)
        self.hidden, self.classify = nn.Linear(20, 16), nn.Linear(16, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states, _ = self.recurrent(self.front(x).permute(0, 2, 1))
        return self.classify(torch.relu(self.hidden(states[:, -1])))


def crnn() -> nn.Module:
    """Convolutions along time, an LSTM over what they make, a classifier of its last state."""
    return _Recurrent()


NETWORKS = (
    Network(
        name="crnn",
        factory=crnn,
        example_inputs=images(10, 21),
        published=(
            "Sainath, Vinyals, Senior, Sak 2015, Convolutional, Long Short-Term Memory, Fully Connected Deep Neural "
            "Networks, ICASSP; LSTM: Hochreiter, Schmidhuber 1997, Neural Computation"
        ),
        left_whole=(("front.3", "the LSTM reads it"),),
    ),
)
