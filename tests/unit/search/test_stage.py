from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import pytest
from digits import Digits

from edgekd.errors import InfeasibleError, RecipeError, TargetError
from edgekd.hardware.target import load_target
from edgekd.inputs import Inputs, ModelSource, load_inputs
from edgekd.models.exported import export_program
from edgekd.models.memory import peak_activations
from edgekd.models.rewrite import rebuild
from edgekd.prune.groups import find_groups
from edgekd.prune.importance import rank_units
from edgekd.prune.slicing import narrow
from edgekd.recipe import Recipe
from edgekd.records import Budget, ParetoFront, Target
from edgekd.search.plan_costs import require_tables
from edgekd.search.stage import find_front
from edgekd.store import RunFolder
from edgekd.tasks import REGRESSION

RECIPE = Recipe(evaluations=12, population=12)
ORIGINAL_BYTES = 84_000  # about that of the teacher's int8 file


@pytest.fixture(scope="module")
def inputs(digits: Digits) -> Inputs:
    return load_inputs(ModelSource(path=digits.model), digits.data, RECIPE, None)


def front_of(inputs: Inputs, folder: Path, *budgets: Budget, recipe: Recipe = RECIPE) -> ParetoFront:
    network = inputs.model.network
    return find_front(
        network,
        rank_units(network, find_groups(network)),
        inputs,
        target=load_target("jetson-tx2"),
        budgets=budgets,
        original_bytes=ORIGINAL_BYTES,
        recipe=recipe,
        run=RunFolder(folder),
        on_progress=lambda _done, _total, _text: None,
    )


@pytest.mark.parametrize(
    ("budget", "formatted"),
    [
        (Budget(quantity="size_bytes", limit=1_000.0, precision="int8"), "1 KB"),
        (Budget(quantity="latency_us", limit=1.0), "1 us"),
        (Budget(quantity="memory_bytes", limit=500.0), "500 B"),
    ],
    ids=["size", "latency", "memory"],
)
def test_a_budget_below_the_smallest_plan_tells_that_plan_and_its_accuracy_and_measures_nothing(
    inputs: Inputs, tmp_path: Path, budget: Budget, formatted: str
) -> None:
    with pytest.raises(InfeasibleError, match=r"the smallest reachable is .* with an accuracy of .* %") as caught:
        front_of(inputs, tmp_path, budget)
    assert caught.value.where == f"budget on {budget.quantity}"
    assert caught.value.expected.endswith(formatted)
    assert caught.value.hint.startswith("Raise the budget")
    assert not (tmp_path / "search").exists()


def test_the_front_keeps_the_budget_and_measured_losses_are_on_disk(inputs: Inputs, tmp_path: Path) -> None:
    front = front_of(inputs, tmp_path, Budget(quantity="size_bytes", limit=60_000.0, precision="int8"))
    assert front.candidates
    assert all(candidate.size_bytes <= 60_000 for candidate in front.candidates)
    lines = (tmp_path / "search" / "losses.jsonl").read_text().splitlines()
    assert len(lines) == front.evaluations <= RECIPE.evaluations


def test_a_memory_budget_is_kept_by_what_the_pruned_network_has_alive_at_once(inputs: Inputs, tmp_path: Path) -> None:
    network = inputs.model.network
    channels = rank_units(network, find_groups(network))
    # The file to deploy on this target is fp16.
    limit = 0.7 * 2 * peak_activations(network)
    front = front_of(inputs, tmp_path, Budget(quantity="memory_bytes", limit=limit, precision="fp16"))
    assert front.candidates
    for candidate in front.candidates:
        pruned = rebuild(export_program(narrow(network, channels, candidate.plan), inputs.model.examples()))
        assert candidate.memory_bytes == 2 * peak_activations(pruned) <= limit


def test_a_budget_that_no_table_can_answer_is_refused() -> None:
    known = load_target("rpi4")
    board = Target(
        name="my-board",
        title="My board",
        processors=known.processors,
        artifacts=known.artifacts,
        memory_bytes=known.memory_bytes,
        notes=(),
        sources=(),
    )
    for known_of_every_target in ("size_bytes", "memory_bytes"):
        require_tables(board, (Budget(quantity=known_of_every_target, limit=1.0),))
    with pytest.raises(TargetError, match="a table of latency") as caught:
        require_tables(board, (Budget(quantity="latency_us", limit=1.0),))
    assert caught.value.where == "target 'my-board'"


def test_an_accuracy_to_keep_is_refused_for_a_task_whose_metric_is_better_when_lower(
    inputs: Inputs, tmp_path: Path
) -> None:
    regression = dataclasses.replace(inputs, task=REGRESSION)
    with pytest.raises(RecipeError, match="better when lower") as caught:
        front_of(regression, tmp_path, recipe=dataclasses.replace(RECIPE, min_search_accuracy=0.5))
    assert caught.value.where == "recipe, min_search_accuracy"


def test_rounds_with_a_surrogate_leave_its_error_in_their_files_and_the_accuracy_of_each_plan(
    inputs: Inputs, tmp_path: Path
) -> None:
    front = front_of(inputs, tmp_path, recipe=dataclasses.replace(RECIPE, evaluations=24))
    paths = sorted((tmp_path / "search" / "generations").iterdir())
    documents = [json.loads(path.read_text()) for path in paths]
    assert documents[0]["surrogate"] is None
    for before, document in itertools.pairwise(documents):
        assert document["surrogate"]["trained_on"] == before["evaluations"]
        assert document["surrogate"]["unseen"] == len(document["candidates"])
    assert len(documents) > 1
    assert all(0 <= c["metric"] <= 1 for document in documents for c in document["candidates"])
    assert front.ended_by == "evaluations"


def test_a_search_done_again_leaves_the_same_generations_and_one_event_each(inputs: Inputs, tmp_path: Path) -> None:
    budget = Budget(quantity="size_bytes", limit=60_000.0, precision="int8")
    front = front_of(inputs, tmp_path, budget)
    folder = tmp_path / "search" / "generations"
    before = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    documents = [json.loads(content) for content in before.values()]
    assert sum(len(document["candidates"]) for document in documents) == front.evaluations
    assert front_of(inputs, tmp_path, budget) == front
    assert {path.name: path.read_bytes() for path in sorted(folder.iterdir())} == before
    (events,) = (tmp_path / "logs" / "search").iterdir()
    assert events.stat().st_size > 0
