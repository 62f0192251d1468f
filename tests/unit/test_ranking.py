from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import zoo
from digits import Digits
from zoo.adapter import export

from edgekd.errors import ArtifactError, InputError
from edgekd.inputs import Inputs, ModelSource, load_inputs
from edgekd.prune.groups import find_groups
from edgekd.ranking import RANKING, rank_groups, read_ranking, write_ranking
from edgekd.recipe import Recipe


@pytest.fixture(scope="module")
def inputs(digits: Digits) -> Inputs:
    return load_inputs(ModelSource(path=digits.model), digits.data, Recipe(), None)


def test_a_criterion_that_looks_at_data_wants_some(inputs: Inputs) -> None:
    with pytest.raises(InputError, match="expected data") as caught:
        rank_groups(inputs.model.network, "taylor")
    assert caught.value.where == "--importance taylor"
    assert "--data" in caught.value.hint


def test_the_order_is_kept_and_read_again_with_its_criterion(inputs: Inputs, tmp_path: Path) -> None:
    network = inputs.model.network
    channels = rank_groups(network, "fisher", inputs=inputs, samples=inputs.splits.train.sample(64, 0))
    write_ranking(tmp_path, channels, "fisher")
    kept = read_ranking(tmp_path / "plan.json", find_groups(network))
    assert kept is not None
    assert kept[0].prunable == channels.prunable
    assert kept[1] == "fisher"
    assert read_ranking(tmp_path / "elsewhere" / "plan.json", channels) is None


@pytest.mark.parametrize("damage", ["no orders", "another group", "one unit twice", "a word"])
def test_an_order_that_does_not_fit_is_refused(inputs: Inputs, tmp_path: Path, damage: str) -> None:
    channels = rank_groups(inputs.model.network, "l2")
    write_ranking(tmp_path, channels, "l2")
    document = json.loads((tmp_path / RANKING).read_text())
    name = channels.prunable[0].name
    order = document["orders"].pop(name)
    document["orders"] |= {
        "no orders": {},
        "another group": {f"{name}x": order},
        "one unit twice": {name: [order[1], *order[1:]]},
        "a word": {name: "order"},
    }[damage]
    (tmp_path / RANKING).write_text(json.dumps(document))
    with pytest.raises(ArtifactError, match="its groups differ") as caught:
        read_ranking(tmp_path / "plan.json", channels)
    assert caught.value.where == str(tmp_path / RANKING)


@pytest.mark.parametrize("importance", ["taylor", "fisher"])
def test_where_targets_are_the_networks_own_answers_the_outputs_themselves_are_looked_at(
    importance: str, tmp_path: Path
) -> None:
    """The distance from itself has no gradient, which would rank every unit the same."""
    path, data = tmp_path / "embedder.pt2", tmp_path / "data.npz"
    module = zoo.build("embedder")
    torch.export.save(export(module, zoo.NETWORKS["embedder"].example_inputs(2, 0)), path)
    shape = zoo.NETWORKS["embedder"].example_inputs(2, 0)[0].shape[1:]  # type: ignore[index]
    pixels = np.random.default_rng(0).integers(0, 256, (80, *shape[1:], shape[0]), dtype=np.uint8)
    np.savez(data, x=pixels)
    inputs = load_inputs(ModelSource(path=path), data, Recipe(task="embedding"), None)
    samples = inputs.splits.train.sample(32, 0)
    first, second = (
        rank_groups(inputs.model.network, importance, inputs=inputs, samples=samples, seed=0) for _ in range(2)
    )
    assert first.groups == second.groups
    assert any(group.order != tuple(range(group.units)) for group in first.prunable)
    assert first.prunable != rank_groups(inputs.model.network, "l2").prunable
