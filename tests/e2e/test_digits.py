"""One whole compression of the digits example, looked at from outside: files, figures, resumption."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from digits import Digits, FinishedRun, example

from edgekd.cli.app import run

PRECISIONS = ("fp32", "fp16", "int8")
TEST_IMAGES = 360


@pytest.fixture(scope="module")
def report(finished: FinishedRun) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((finished.folder / "report" / "report.json").read_text(encoding="utf-8"))
    return document


@pytest.fixture(scope="module")
def held_out(finished: FinishedRun) -> tuple[np.ndarray, np.ndarray]:
    """The inputs and labels of the test part, as a user who knows the network would make them."""
    module = example()
    with np.load(finished.digits.data) as arrays:
        x = (arrays["x_test"].astype(np.float32)[:, None] / 255 - module.MEAN) / module.STD
        return x.astype(np.float32), arrays["y_test"]


def logits_of(path: Path, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: x})[0])


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def plan_of(folder: Path) -> str:
    plan = json.loads((folder / "student" / "plan.json").read_text())
    return str(plan["id"])


def test_it_ends_well(finished: FinishedRun, report: dict[str, Any]) -> None:
    assert finished.exit_code == 0
    assert report["verdict"] == "pass"
    assert not [finding for finding in report["findings"] if finding["level"] == "error"]


def test_the_run_folder_holds_what_is_documented(finished: FinishedRun) -> None:
    files = {path.relative_to(finished.folder).as_posix() for path in finished.folder.rglob("*") if path.is_file()}
    wanted = {"recipe.toml", "manifest.json", "journal.jsonl", "search/front.json"}
    wanted |= {f"student/{name}" for name in ("weights.safetensors", "plan.json", "student.pt2")}
    wanted |= {f"report/report.{form}" for form in ("html", "md", "json")}
    for stem in ("model", "original"):
        wanted |= {f"artifacts/{stem}.{precision}.{form}" for precision in PRECISIONS for form in ("onnx", "json")}
    if finished.has_tvm:
        wanted |= {"artifacts/model.cpu.so", "artifacts/model.cpu.json"}
    assert not wanted - files
    for pattern in ("search/generations/*.json", "logs/search/*", "logs/distill/*", "logs/quantize/*"):
        assert list(finished.folder.glob(pattern)), pattern
    assert {name for name in files if name.startswith("artifacts/")} == {
        n for n in wanted if n.startswith("artifacts/")
    }
    assert not [name for name in files if name.endswith(".part") or Path(name).name.startswith(".")]


def test_json_files_are_strict_json(finished: FinishedRun) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    for path in finished.folder.rglob("*.json"):
        json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    for path in finished.folder.rglob("*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            json.loads(line, parse_constant=refuse)


def test_the_file_that_was_written_keeps_the_size_budget(finished: FinishedRun, report: dict[str, Any]) -> None:
    size = (finished.folder / "artifacts" / "model.int8.onnx").stat().st_size
    assert size <= 60_000
    # Without pruning, int8 alone would not have met it.
    assert (finished.folder / "artifacts" / "original.int8.onnx").stat().st_size > 60_000
    rows = {row["path"]: row for row in report["rows"]}
    for path, row in rows.items():
        assert row["size_bytes"] == (finished.folder / path).stat().st_size


def test_the_report_compares_original_and_compressed_in_every_precision_and_all_parity_passed(
    finished: FinishedRun, report: dict[str, Any]
) -> None:
    names = [row["name"] for row in report["rows"]]
    for kind in ("original", "compressed"):
        assert [name for name in names if name.startswith(kind)][:3]
        assert {f"{kind} {precision}" for precision in PRECISIONS} <= set(names)
    assert any("TVM" in name for name in names) == finished.has_tvm
    for row in report["rows"]:
        assert row["parity"]["passed"], row["name"]
        if "compressed" in row["name"]:
            assert row["parameters"] < example_parameters()


def example_parameters() -> int:
    return sum(parameter.numel() for parameter in example().DigitsNet().parameters())


def test_the_reported_memory_is_what_the_student_has_alive_at_once(
    finished: FinishedRun, report: dict[str, Any]
) -> None:
    from edgekd.models.load import load_model
    from edgekd.models.memory import peak_activations

    values = {
        "compressed": peak_activations(load_model(finished.folder / "student" / "student.pt2").network),
        "original": peak_activations(load_model(finished.digits.model).network),
    }
    for row in report["rows"]:
        kind, _, rest = row["name"].partition(" ")
        value_bytes = {"fp32": 4, "fp16": 2, "int8": 1}[row["precision"]]
        # Of the code that TVM makes nothing is known.
        assert row["memory_bytes"] == (None if "TVM" in rest else value_bytes * values[kind]), row["name"]


def test_the_operators_of_the_deployed_file_add_up_to_its_predicted_latency(report: dict[str, Any]) -> None:
    deployment = report["deployment"]
    rows = {row["name"]: row for row in report["rows"]}
    for index, kind in enumerate(("original", "compressed")):
        latency_us = sum(operator["latency_us"][index] for operator in deployment["operators"])
        assert latency_us == pytest.approx(rows[f"{kind} {deployment['precision']}"]["latency_us"]["value"])
    # The first convolution, two in each of three blocks, and the classifier: examples/digits/teacher.py.
    assert deployment["launches"] == 1 + 3 * 2 + 1


@pytest.mark.parametrize(("over", "code"), [(0, 0), (-1, 1)], ids=["as much", "a byte less"])
def test_check_compares_the_memory_of_every_compressed_file(
    finished: FinishedRun, report: dict[str, Any], over: int, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    most = next(row["memory_bytes"] for row in report["rows"] if row["name"] == "compressed fp32")
    assert run(["check", str(finished.folder), "--max-memory", f"{most + over}B", "--json"]) == code
    codes = [finding["code"] for finding in json.loads(capsys.readouterr().out)["findings"]]
    assert codes.count("memory-over-budget") == code


def test_the_compressed_network_has_fewer_macs_and_widths_in_steps_of_the_target(report: dict[str, Any]) -> None:
    rows = {row["name"]: row for row in report["rows"]}
    assert rows["compressed int8"]["macs"] < rows["original int8"]["macs"]
    assert any(after < before for _, before, after in report["widths"])
    for name, before, after in report["widths"]:
        assert after == before or after % 8 == 0, name


@pytest.mark.parametrize("name", [f"{stem}.{precision}" for stem in ("original", "model") for precision in PRECISIONS])
def test_reported_accuracy_is_what_onnxruntime_alone_measures_on_the_file(
    finished: FinishedRun, report: dict[str, Any], held_out: tuple[np.ndarray, np.ndarray], name: str
) -> None:
    x, y = held_out
    path = f"artifacts/{name}.onnx"
    correct = int((logits_of(finished.folder / path, x).argmax(axis=1) == y).sum())
    accuracy = next(row["accuracy"] for row in report["rows"] if row["path"] == path)
    assert accuracy["samples"] == len(y) == TEST_IMAGES
    assert accuracy["split"] == "test"
    # One image of grace: the last bit of the normalization may differ.
    assert abs(accuracy["value"] * TEST_IMAGES - correct) <= 1 + 1e-6
    assert correct > 0.85 * TEST_IMAGES


def test_the_search_used_no_test_image_and_the_splits_are_told(report: dict[str, Any]) -> None:
    provenance = dict(map(tuple, report["provenance"]))
    assert provenance["split test"].startswith("360 images")
    told = [int(provenance[f"split {s}"].split()[0].replace(",", "")) for s in ("train", "search", "validation")]
    assert sum(told) == 1797 - TEST_IMAGES


def test_cards_name_the_digest_and_size_of_their_files(finished: FinishedRun) -> None:
    cards = sorted((finished.folder / "artifacts").glob("*.json"))
    assert len(cards) == 6 + finished.has_tvm
    for path in cards:
        card = json.loads(path.read_text())
        file = finished.folder / card["path"]
        assert file.stem == path.stem
        assert card["sha256"] == digest_of(file)
        assert card["size_bytes"] == file.stat().st_size


@pytest.mark.parametrize(
    ("options", "code"),
    [([], 0), (["--max-size", "60KB"], 0), (["--max-size", "59KB", "--json"], None), (["--max-size", "10KB"], 1)],
    ids=["no budget", "its own budget", "just below", "far below"],
)
def test_check_passes_the_run_and_refuses_it_for_a_smaller_budget(
    finished: FinishedRun, options: list[str], code: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    size = (finished.folder / "artifacts" / "model.int8.onnx").stat().st_size
    expected = code if code is not None else int(size > 59_000)
    assert run(["check", str(finished.folder), *options]) == expected
    assert capsys.readouterr().err == ""


def test_the_report_can_be_printed_as_markdown(finished: FinishedRun, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["report", str(finished.folder), "--format", "md"]) == 0
    assert capsys.readouterr().out == (finished.folder / "report" / "report.md").read_text(encoding="utf-8")


def test_the_student_opens_without_the_user_s_code_and_gives_the_logits_of_the_fp32_file(
    finished: FinishedRun, held_out: tuple[np.ndarray, np.ndarray]
) -> None:
    from edgekd.models.load import load_model

    student = load_model(finished.folder / "student" / "student.pt2")
    assert (student.image_shape, student.classes) == ((1, 8, 8), 10)
    x, _ = held_out
    with torch.no_grad():
        ours = student.network(torch.from_numpy(x)).numpy()
    theirs = logits_of(finished.folder / "artifacts" / "model.fp32.onnx", x)
    assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max()


def test_the_student_can_be_compressed_again(finished: FinishedRun) -> None:
    from edgekd.models.load import load_model
    from edgekd.prune.groups import find_groups

    channels = find_groups(load_model(finished.folder / "student" / "student.pt2").network)
    plan = json.loads((finished.folder / "student" / "plan.json").read_text())
    assert sorted(group.units for group in channels.prunable) == sorted(plan["widths"].values())


def test_the_weights_are_those_of_the_student(finished: FinishedRun) -> None:
    from safetensors.torch import load_file

    from edgekd.models.load import load_model

    weights = load_file(finished.folder / "student" / "weights.safetensors")
    student = load_model(finished.folder / "student" / "student.pt2").network
    sizes = sorted(tuple(value.shape) for value in student.parameters())
    assert sorted(tuple(v.shape) for n, v in weights.items() if n in dict(student.named_parameters())) == sizes
    for name, value in student.named_parameters():
        assert torch.equal(weights[name], value), name


def test_the_plan_is_on_the_front_and_in_every_card(finished: FinishedRun, report: dict[str, Any]) -> None:
    front = json.loads((finished.folder / "search" / "front.json").read_text())
    plan = plan_of(finished.folder)
    chosen = next(candidate for candidate in front["candidates"] if candidate["id"] == plan)
    assert chosen["objectives"][0] == min(candidate["objectives"][0] for candidate in front["candidates"])
    assert report["plan_id"] == plan
    for path in (finished.folder / "artifacts").glob("model.*.json"):
        assert json.loads(path.read_text())["plan_id"] == plan
    assert front["evaluations"] <= 48


def onnx_only(digits: Digits, folder: Path) -> list[str]:
    return digits.job(folder, "--max-size", "60KB", "--quiet")


@pytest.mark.slow
def test_the_same_seed_gives_the_same_plan_and_the_same_bytes(finished: FinishedRun, tmp_path: Path) -> None:
    assert run(onnx_only(finished.digits, tmp_path / "again")) == 0
    assert plan_of(tmp_path / "again") == plan_of(finished.folder)
    for path in sorted((finished.folder / "artifacts").glob("*.onnx")):
        assert digest_of(tmp_path / "again" / "artifacts" / path.name) == digest_of(path), path.name


def _has_lines(path: Path, count: int) -> bool:
    return path.is_file() and path.read_bytes().count(b"\n") >= count


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["search", "distill"])
def test_a_run_killed_in_the_middle_is_resumed_to_the_same_plan_and_the_same_bytes(
    finished: FinishedRun, tmp_path: Path, moment: str
) -> None:
    folder = tmp_path / "killed"
    arguments = onnx_only(finished.digits, folder)
    program = [sys.executable, "-W", "error", "-c", "from edgekd.cli.app import main; main()"]
    process = subprocess.Popen([*program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 300
        reached = {
            "search": lambda: _has_lines(folder / "search" / "losses.jsonl", 10),
            "distill": lambda: (folder / "student" / "distill.safetensors").is_file(),
        }[moment]
        while not reached():
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not (folder / "report").exists()
    assert run([*arguments, "--resume"]) == 0
    assert plan_of(folder) == plan_of(finished.folder)
    int8 = "artifacts/model.int8.onnx"
    assert digest_of(folder / int8) == digest_of(finished.folder / int8)
    losses = [json.loads(line)["plan"] for line in (folder / "search" / "losses.jsonl").read_text().splitlines()]
    assert len(losses) == len(set(losses))
