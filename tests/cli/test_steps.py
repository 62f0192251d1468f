"""`edgekd prune` and `edgekd export`, on the digits network and on networks that are no classifiers."""

from __future__ import annotations

import json
from pathlib import Path

import onnxruntime
import pytest
import torch
from digits import Digits
from zoo import program

from edgekd.cli.app import run
from edgekd.models.load import load_model
from edgekd.models.quiet import quiet_torch

Capture = pytest.CaptureFixture[str]


def saved(name: str, folder: Path) -> Path:
    """A network of the zoo as a `.pt2`."""
    path = folder / f"{name}.pt2"
    with quiet_torch():
        torch.export.save(program(name), path)
    return path


def test_a_ratio_halves_the_network_and_the_result_can_be_pruned_again(
    digits: Digits, tmp_path: Path, capsys: Capture
) -> None:
    arguments = ["prune", str(digits.model), "--ratio", "0.5", "--data", str(digits.data), "--json"]
    assert run([*arguments, "--output", str(tmp_path / "half")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["parameters"][1] < 0.4 * document["parameters"][0]
    assert document["macs"][1] < 0.4 * document["macs"][0]
    assert all(width % 8 == 0 for width in document["plan"]["widths"].values())
    assert 0 < document["metric"]["value"] <= 1
    files = {"student.pt2", "weights.safetensors", "plan.json", "ranking.json"}
    assert {path.name for path in (tmp_path / "half").iterdir()} == files
    again = ["prune", str(tmp_path / "half" / "student.pt2"), "--ratio", "0.5", "--output", str(tmp_path / "quarter")]
    assert run(again) == 0
    assert "batch norms keep the statistics" in capsys.readouterr().err


def test_a_plan_gives_the_same_network_and_one_of_another_network_is_refused(
    digits: Digits, tmp_path: Path, capsys: Capture
) -> None:
    assert run(["prune", str(digits.model), "--ratio", "0.5", "--output", str(tmp_path / "a"), "-q"]) == 0
    plan = str(tmp_path / "a" / "plan.json")
    assert run(["prune", str(digits.model), "--plan", plan, "--output", str(tmp_path / "b"), "-q"]) == 0
    first, second = (load_model(tmp_path / name / "student.pt2") for name in "ab")
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(first.network(x), second.network(x))
    capsys.readouterr()
    other = saved("lenet", tmp_path)
    assert run(["prune", str(other), "--plan", plan, "--output", str(tmp_path / "c")]) == 2
    assert "its groups differ" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "one of them"),
        (["--ratio", "0.5", "--plan", "plan.json"], "one of them"),
        (["--ratio", "0"], "above 0"),
        (["--plan", "gone.json"], "gone.json"),
    ],
    ids=["neither", "both", "ratio 0", "missing plan"],
)
def test_bad_plans_exit_with_2_and_write_nothing(
    digits: Digits, tmp_path: Path, capsys: Capture, arguments: list[str], told: str
) -> None:
    assert run(["prune", str(digits.model), *arguments, "--output", str(tmp_path / "out")]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_front_s_plan_is_chosen_by_its_id(digits: Digits, tmp_path: Path, capsys: Capture) -> None:
    for name, ratio in (("a", "0.5"), ("b", "0.25")):
        assert run(["prune", str(digits.model), "--ratio", ratio, "--output", str(tmp_path / name), "-q"]) == 0
    plans = [json.loads((tmp_path / name / "plan.json").read_text()) for name in "ab"]
    front = tmp_path / "front.json"
    candidates = [plan | {"objectives": [loss]} for plan, loss in zip(plans, (0.3, 0.7), strict=True)]
    front.write_text(json.dumps({"candidates": candidates}))
    capsys.readouterr()
    for place, wanted in ((str(front), plans[0]), (f"{front}#{plans[1]['id']}", plans[1])):
        output = str(tmp_path / f"of-{wanted['id']}")
        assert run(["prune", str(digits.model), "--plan", place, "--output", output, "--json", "-q"]) == 0
        assert json.loads(capsys.readouterr().out)["plan"] == wanted
    assert run(["prune", str(digits.model), "--plan", f"{front}#none", "--output", str(tmp_path / "no")]) == 2
    assert plans[0]["id"] in capsys.readouterr().err


FOREIGN = {"widths": {"conv1": 8}, "objectives": [0.5]}


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"candidates": [FOREIGN]}, "one width for each prunable group of this network"),
        ({"candidates": [FOREIGN | {"id": "0123456789ab"}]}, "widths of plan 0123456789ab"),
        ({"candidates": [FOREIGN | {"objectives": [None]}]}, "whole widths"),
        ({"candidates": [FOREIGN | {"objectives": []}]}, "whole widths"),
        ({"candidates": [{"widths": {"conv1": "wide"}}]}, "whole widths"),
        ({"candidates": []}, "a plan or a front of plans"),
        ({"candidates": 3}, "a plan or a front of plans"),
        ([], "a plan or a front of plans"),
    ],
    ids=["another network", "changed", "no loss", "no objective", "no width", "empty", "no list", "no object"],
)
def test_a_front_that_is_stale_or_of_another_network_exits_with_2_and_says_what_it_holds(
    digits: Digits, tmp_path: Path, capsys: Capture, document: object, told: str
) -> None:
    front = tmp_path / "front.json"
    front.write_text(json.dumps(document))
    assert run(["prune", str(digits.model), "--plan", str(front), "--output", str(tmp_path / "out")]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_export_writes_every_precision_of_the_target_as_a_file_that_runs(
    digits: Digits, tmp_path: Path, capsys: Capture
) -> None:
    arguments = ["export", str(digits.model), "--target", "jetson-tx2", "--output", str(tmp_path / "files"), "--json"]
    assert run([*arguments, "--data", str(digits.data)]) == 0
    files = [Path(entry["path"]) for entry in json.loads(capsys.readouterr().out)["files"]]
    assert {path.suffixes[-2] for path in files} == {".fp32", ".fp16", ".int8"}
    for path in files:
        session = onnxruntime.InferenceSession(str(path))
        assert session.run(None, {session.get_inputs()[0].name: torch.rand(3, 1, 8, 8).numpy()})[0].shape == (3, 10)


@pytest.mark.parametrize("name", ["detector", "bert", "unet"])
def test_networks_of_several_inputs_and_outputs_are_inspected_pruned_and_exported(
    tmp_path: Path, capsys: Capture, name: str
) -> None:
    path = saved(name, tmp_path)
    assert run(["inspect", str(path), "--no-files", "--json"]) == 0
    known = json.loads(capsys.readouterr().out)
    assert run(["prune", str(path), "--ratio", "0.5", "--multiple", "1", "--output", str(tmp_path / "half"), "-q"]) == 0
    student = tmp_path / "half" / "student.pt2"
    capsys.readouterr()
    assert run(["export", str(student), "--target", "rpi4", "--output", str(tmp_path / "files"), "--json", "-q"]) == 0
    (file,) = json.loads(capsys.readouterr().out)["files"]
    session = onnxruntime.InferenceSession(file["path"])
    assert len(session.get_inputs()) == len(known["inputs"])
    assert len(session.get_outputs()) == len(known["outputs"])


@pytest.mark.slow
def test_a_search_gives_a_front_that_compress_goes_on_from(digits: Digits, tmp_path: Path, capsys: Capture) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("epochs = 0\nevaluations = 12\npopulation = 6\n")
    run_folder = tmp_path / "run"
    job = [str(digits.model), "--data", str(digits.data), "--target", "rpi4", "--max-size", "60KB"]
    job += ["--recipe", str(recipe), "--run", str(run_folder), "-q"]
    assert run(["search", *job, "--json"]) == 0
    front = json.loads(capsys.readouterr().out)
    assert front == json.loads((run_folder / "search" / "front.json").read_text())
    assert all(candidate["size_bytes"] <= 60_000 for candidate in front["candidates"])
    assert not (run_folder / "student").exists()
    losses = (run_folder / "search" / "losses.jsonl").read_text()
    assert run(["compress", *job, "--resume", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["plan_id"] in {candidate["id"] for candidate in front["candidates"]}
    assert (run_folder / "search" / "losses.jsonl").read_text() == losses
    best = min(front["candidates"], key=lambda candidate: candidate["objectives"][0])
    plan = f"{run_folder / 'search' / 'front.json'}#{best['id']}"
    assert run(["prune", str(digits.model), "--plan", plan, "--output", str(tmp_path / "built"), "-q"]) == 0
    assert best["id"] in capsys.readouterr().out


def test_a_plan_is_built_with_the_order_it_was_made_with_and_needs_no_data_for_it(
    digits: Digits, tmp_path: Path, capsys: Capture
) -> None:
    data = ["--data", str(digits.data)]
    for name in ("fisher", "l2"):
        arguments = ["--ratio", "0.5", "--importance", name, "--output", str(tmp_path / name), "-q"]
        assert run(["prune", str(digits.model), *arguments, *data]) == 0
    capsys.readouterr()
    plan = str(tmp_path / "fisher" / "plan.json")
    assert run(["prune", str(digits.model), "--plan", plan, "--output", str(tmp_path / "again"), "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["importance"] == "fisher"
    weights = {
        name: load_model(tmp_path / name / "student.pt2").network.state_dict() for name in ("fisher", "again", "l2")
    }
    trained = [key for key in weights["fisher"] if "running" not in key and "num_batches" not in key]
    assert all(torch.equal(weights["fisher"][key], weights["again"][key]) for key in trained)
    assert not all(torch.equal(weights["fisher"][key], weights["l2"][key]) for key in trained)


@pytest.mark.parametrize(
    ("importance", "told"),
    [("tailor", "Did you mean 'taylor'?"), ("taylor", "Give them with --data")],
    ids=["unknown", "without data"],
)
def test_a_criterion_that_cannot_rank_exits_with_2(
    digits: Digits, tmp_path: Path, capsys: Capture, importance: str, told: str
) -> None:
    arguments = ["--ratio", "0.5", "--importance", importance, "--output", str(tmp_path / "out")]
    assert run(["prune", str(digits.model), *arguments]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_search_keeps_what_is_frozen_and_tied_and_writes_the_order_of_its_criterion(
    digits: Digits, tmp_path: Path, capsys: Capture
) -> None:
    job = ["--data", str(digits.data), "--target", "jetson-tx2", "--run", str(tmp_path / "run"), "--evaluations", "30"]
    limits = ["--freeze", "conv", "--tie", "blocks.1.conv1,blocks.2.conv1", "--min-width", "0.5"]
    assert run(["search", str(digits.model), *job, *limits, "--importance", "fisher", "--json", "-q"]) == 0
    front = json.loads(capsys.readouterr().out)
    full = {"blocks.0.conv1": 16, "blocks.1.conv1": 32, "blocks.2.conv1": 64}
    for candidate in front["candidates"]:
        widths = candidate["widths"]
        assert widths["conv"] == 16
        assert widths["blocks.1.conv1"] / 32 == widths["blocks.2.conv1"] / 64
        assert all(widths[name] >= units / 2 for name, units in full.items())
    assert len({candidate["widths"]["blocks.1.conv1"] for candidate in front["candidates"]}) > 1
    ranking = json.loads((tmp_path / "run" / "search" / "ranking.json").read_text())
    assert ranking["importance"] == "fisher"
    assert set(ranking["orders"]) == set(front["candidates"][0]["widths"])
    plan = f"{tmp_path / 'run' / 'search' / 'front.json'}#{front['candidates'][0]['id']}"
    assert run(["prune", str(digits.model), "--plan", plan, "--output", str(tmp_path / "built"), "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["importance"] == "fisher"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--algorithm", "randon"], "Did you mean 'random'?"),
        (["--objectives", "loss,latenci"], "Did you mean 'latency'?"),
        (["--time-budget", "20"], "20m"),
        (["--time-budget", "0s"], "above zero"),
        (["--min-search-accuracy", "90"], "from 0.0 to 1.0"),
        (["--objectives", "latency"], "smallest network is the answer"),
    ],
    ids=["algorithm", "objective", "no unit", "no time", "no share", "no loss"],
)
def test_settings_of_a_search_that_cannot_be_used_exit_with_2_and_say_what_can(
    digits: Digits, tmp_path: Path, capsys: Capture, arguments: list[str], told: str
) -> None:
    job = [str(digits.model), "--data", str(digits.data), "--target", "rpi4", "--run", str(tmp_path / "run"), "-q"]
    assert run(["search", *job, *arguments]) == 2
    assert told in capsys.readouterr().err
    assert not list((tmp_path / "run").glob("*"))  # nothing stands in the way of the search asked rightly


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["nsga2", "nsga3", "random", "uniform", "greedy"])
def test_every_algorithm_searches_in_one_command(
    digits: Digits, tmp_path: Path, capsys: Capture, algorithm: str
) -> None:
    job = [str(digits.model), "--data", str(digits.data), "--target", "rpi4", "--run", str(tmp_path / "run"), "-q"]
    limits = ["--evaluations", "16", "--time-budget", "10m", "--min-search-accuracy", "0.1"]
    assert run(["search", *job, *limits, "--algorithm", algorithm, "--objectives", "loss,size", "--json"]) == 0
    front = json.loads(capsys.readouterr().out)
    assert front["algorithm"] == algorithm
    assert front["objective_names"] == ["loss", "size_bytes"]
    assert front["ended_by"] in ("evaluations", "exhausted")
    assert front["evaluations"] <= 16
    assert all(candidate["metric"] >= 0.1 for candidate in front["candidates"])
