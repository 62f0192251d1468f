"""Small implementations of published networks, one for every shape the library promises to handle."""

from __future__ import annotations

import functools

import torch
from torch import nn

from zoo import branched, chains, dense_prediction, mobile, oddities, residual, sequences, transformers
from zoo.adapter import export
from zoo.network import Inputs, Network, draw

__all__ = ["NETWORKS", "Inputs", "Network", "build", "program"]

_FAMILIES = (chains, residual, mobile, branched, dense_prediction, transformers, sequences, oddities)
NETWORKS: dict[str, Network] = {network.name: network for family in _FAMILIES for network in family.NETWORKS}


def build(name: str, seed: int = 0) -> nn.Module:
    """Return the network of that name in evaluation mode, with weights drawn from `seed`."""
    return draw(NETWORKS[name].factory(), seed)


@functools.cache
def program(name: str) -> torch.export.ExportedProgram:
    """Return `build(name)` exported. Made once for all tests, none of which may change it."""
    return export(build(name), NETWORKS[name].example_inputs(2, 0))
