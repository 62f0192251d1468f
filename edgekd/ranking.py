"""Rank a network's groups by the criterion a job names, and keep the order for those who build its plans later."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import fx

from edgekd.data import Samples, batches, channels_last, network_inputs
from edgekd.errors import ArtifactError, InputError
from edgekd.inputs import Inputs
from edgekd.prune.groups import ChannelMap, find_groups
from edgekd.prune.importance import Examples, load_criterion, rank_units
from edgekd.store import read_json, write_json

RANKING = "ranking.json"
_BATCH = 64


def rank_groups(
    network: fx.GraphModule,
    importance: str,
    *,
    inputs: Inputs | None = None,
    samples: Samples | None = None,
    seed: int = 0,
) -> ChannelMap:
    """Return the groups of a network, ranked.

    Args:
        network: The network.
        importance: Name of the criterion.
        inputs: The data, for criteria that look at some.
        samples: Which training samples of them.
        seed: Of what is random.

    Raises:
        UnknownNameError: There is no such criterion.
        InputError: It looks at data, and there are none.
    """
    criterion = load_criterion(importance)
    examples = None
    if criterion.needs_examples:
        if inputs is None or samples is None:
            raise InputError(
                f"--importance {importance}",
                expected="data, since this criterion looks at the loss of training samples",
                found="none",
                hint="Give them with --data, or choose a criterion that looks at weights alone, such as l2.",
            )
        examples = _examples(inputs, samples, seed)
    return rank_units(network, find_groups(network), criterion, examples=examples, seed=seed)


def write_ranking(folder: Path, channels: ChannelMap, importance: str) -> None:
    """Write `ranking.json`: which units each width of a plan keeps."""
    orders = {group.name: list(group.order) for group in channels.prunable}
    write_json(folder / RANKING, {"schema_version": 1, "importance": importance, "orders": orders})


def read_ranking(plan: Path, channels: ChannelMap) -> tuple[ChannelMap, str] | None:
    """Return the groups in the order that was written beside a plan or front, and its criterion; `None` without one.

    Raises:
        ArtifactError: The file is of another network, or damaged.
    """
    path = plan.parent / RANKING
    if not path.is_file():
        return None
    document = read_json(path)
    kept = document.get("orders") if isinstance(document, dict) else None
    orders = kept if isinstance(kept, dict) else {}
    if not all(_is_order(orders.get(group.name), group.units) for group in channels.prunable):
        raise ArtifactError(
            str(path),
            expected="an order of the units of each group of this network",
            found="that of another network: its groups differ",
            hint="Use the model file that the plan was made for; or rank anew with --importance.",
        )
    groups = tuple(
        dataclasses.replace(group, order=tuple(orders[group.name])) if group.prunable else group
        for group in channels.groups
    )
    return dataclasses.replace(channels, groups=groups), str(document.get("importance"))


def _is_order(found: Any, units: int) -> bool:
    return isinstance(found, list) and all(type(i) is int for i in found) and sorted(found) == list(range(units))


def _examples(inputs: Inputs, samples: Samples, seed: int) -> Examples:
    found = tuple((channels_last(network_inputs(x, inputs.normalization)), y) for x, y, _ in batches(samples, _BATCH))
    return Examples(batches=found, loss=_Projection(seed) if inputs.task.source == "teacher" else inputs.task.loss)


class _Projection:
    """A loss for tasks whose targets are the network's own outputs, at which the distance has no gradient.

    A random projection of each example's outputs: its squared derivative is, in the mean, that of all outputs together
    (the Gauss-Newton form of the second derivative of a squared distance).
    """

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, outputs: torch.Tensor, _targets: torch.Tensor) -> torch.Tensor:
        """Return one value an example, `[batch]`."""
        return (outputs * torch.randn(outputs.shape, generator=self._generator)).flatten(1).sum(1)
