from __future__ import annotations

import json

import pytest
from digits import Digits

from edgekd.cli.app import run

# By hand, from examples/digits/teacher.py: pixels x 9 x inputs x outputs of each convolution, and the classifier.
MACS = 64 * 9 * 1 * 16 + 2 * 64 * 9 * 16 * 16 + 16 * 9 * (16 * 32 + 32 * 32) + 4 * 9 * (32 * 64 + 64 * 64) + 64 * 10
CONVOLUTIONS = 9 * (16 + 2 * 16 * 16 + 16 * 32 + 32 * 32 + 32 * 64 + 64 * 64)
NORMS = 2 * (16 + 2 * 16 + 2 * 32 + 2 * 64)
PARAMETERS = CONVOLUTIONS + NORMS + 64 * 10 + 10


@pytest.fixture
def document(digits: Digits, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    assert run(["inspect", str(digits.model), "--target", "jetson-tx2", "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == "writing ONNX files to know their sizes\n"
    loaded: dict[str, object] = json.loads(captured.out)
    return loaded


def test_parameters_and_macs_are_those_counted_by_hand(document: dict[str, object]) -> None:
    assert document["parameters"] == PARAMETERS
    # Besides the layers with weights, the cost model counts what additions and pooling do, which is little.
    assert MACS <= document["macs"] <= MACS * 1.02  # type: ignore[operator]  # a number
    assert document["form"] == "pt2"
    assert document["inputs"] == [{"name": "x", "shape": [1, 8, 8], "dtype": "float32"}]
    assert document["outputs"] == [{"name": "logits", "shape": [10], "dtype": "float32"}]


def test_sizes_are_those_of_files_and_the_peak_is_that_of_the_widest_layers(document: dict[str, object]) -> None:
    sizes = document["file_bytes"]
    assert isinstance(sizes, dict)
    assert PARAMETERS * 4 < sizes["fp32"] < PARAMETERS * 4 * 1.1
    assert sizes["int8"] < sizes["fp16"] < 0.6 * sizes["fp32"]
    # A shortcut of 16 channels of 8 x 8 pixels, and a convolution's input and output beside it.
    assert document["peak_activations"] == 3 * 16 * 64
    assert 0.9 < document["prunable_share"] < 1.0  # type: ignore[operator]  # a number


def test_groups_cover_what_can_be_pruned_and_say_why_the_rest_cannot(document: dict[str, object]) -> None:
    groups = document["groups"]
    assert isinstance(groups, list)
    assert sum(group["prunable"] for group in groups) == 6
    assert all(group["reason"] for group in groups if not group["prunable"])


def test_the_peak_is_told_for_each_artifact_in_its_precision(document: dict[str, object]) -> None:
    costs = document["costs"]
    assert isinstance(costs, list)
    found = {cost["precision"]: cost["cost"]["memory_bytes"] for cost in costs}
    assert found == {"fp32": 4 * 3 * 16 * 64, "fp16": 2 * 3 * 16 * 64, "int8": 3 * 16 * 64}


def test_every_artifact_of_a_target_has_a_cost_with_its_interval(document: dict[str, object]) -> None:
    costs = document["costs"]
    assert isinstance(costs, list)
    assert all(cost["target"] == "jetson-tx2" for cost in costs)
    assert {(cost["precision"], cost["processor"]) for cost in costs} == {
        ("fp32", "cpu"),
        ("fp16", "gpu"),
        ("int8", "cpu"),
    }
    for cost in costs:
        latency = cost["cost"]["latency_us"]
        assert latency is None or 0 < latency["low"] <= latency["value"] <= latency["high"]


def test_the_text_names_network_groups_and_every_target(digits: Digits, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(digits.model), "--target", "jetson-tx2", "--target", "rpi4", "--no-files"]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0] == str(digits.model)
    for start in (
        "parameters       75 k",
        "ONNX file        not written",
        "blocks.2.conv1",
        "jetson-tx2 gpu fp16",
        "rpi4 cpu int8",
    ):
        assert any(line.startswith(start) for line in lines)
    assert captured.err == ""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["gone.pt2"], "gone.pt2"), (["{model}", "--target", "rpi5000"], "Did you mean 'rpi5'?")],
    ids=["missing model", "unknown target"],
)
def test_what_cannot_be_inspected_exits_with_2(
    digits: Digits, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert run(["inspect", *(argument.format(model=digits.model) for argument in arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert told in captured.err
