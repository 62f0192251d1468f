from __future__ import annotations

import torch
from networks import EXAMPLES
from torch import nn

from edgekd.models.exported import export_program
from edgekd.models.memory import peak_activations
from edgekd.models.rewrite import rebuild


class _Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 10, 1), nn.Conv2d(10, 10, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = torch.relu(self.a(x))
        return (a + self.b(a)).mean((2, 3))


def test_a_chain_needs_the_two_largest_neighbours_and_activations_work_in_place() -> None:
    chain = nn.Sequential(nn.Conv2d(3, 10, 1), nn.ReLU(), nn.Conv2d(10, 4, 1), nn.Flatten())
    assert peak_activations(rebuild(export_program(chain, EXAMPLES))) == (10 + 4) * 64


def test_a_shortcut_stays_alive_until_it_is_added() -> None:
    # The shortcut, the branch and their sum, of 10 channels each.
    assert peak_activations(rebuild(export_program(_Branches(), EXAMPLES))) == 3 * 10 * 64
