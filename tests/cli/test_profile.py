"""`edgekd profile model` on this machine, with the artifacts of a real run."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from digits import FinishedRun

from edgekd.cli.app import run

QUICK = ("--seconds", "1", "--tolerance", "0.2")


def test_an_artifact_of_a_run_is_measured_beside_its_prediction(
    finished: FinishedRun, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    artifact = finished.folder / "artifacts" / "model.int8.onnx"
    out = tmp_path / "measured.json"
    assert run(["profile", "model", str(artifact), *QUICK, "--out", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert json.loads(out.read_text(encoding="utf-8")) == document
    assert document["schema_version"] == 1
    latency = document["latency"]
    assert 0 < latency["min_us"] <= latency["p50_us"] <= latency["p90_us"] <= latency["p99_us"] <= latency["max_us"]
    assert document["energy"] is None
    assert any(entry["operator"] == "QLinearConv" for entry in document["operators"])
    report = json.loads((finished.folder / "report" / "report.json").read_text(encoding="utf-8"))
    row = next(row for row in report["rows"] if row["path"] == "artifacts/model.int8.onnx")
    assert (document["predicted_for"], document["predicted_latency_us"]) == ("jetson-tx2", row["latency_us"])
    card = json.loads(artifact.with_suffix(".json").read_text(encoding="utf-8"))
    assert document["sha256"] == card["sha256"]


def test_a_file_that_is_not_the_run_s_has_no_prediction_and_its_energy_comes_from_the_user_s_meter(
    finished: FinishedRun, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    artifact = tmp_path / "alone.onnx"
    shutil.copy(finished.folder / "artifacts" / "model.fp32.onnx", artifact)
    meter = tmp_path / "meter.py"
    meter.write_text("import time\nfor _ in range(900):\n    print(3.0, flush=True)\n    time.sleep(0.005)\n")
    energy = ("--energy", f"command:{sys.executable} {meter}", "--energy-seconds", "0.3", "--idle-seconds", "0.1")
    assert run(["profile", "model", str(artifact), *QUICK, *energy]) == 0
    told = capsys.readouterr().out
    assert "predicted" not in told
    assert "an inference at 3 W, idle 3 W" in told
    assert "meter.py" in told
    assert "median" in told


def test_unmeasured_energy_is_said_to_be_unmeasured(finished: FinishedRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["profile", "model", str(finished.folder / "artifacts" / "model.int8.onnx"), *QUICK]) == 0
    told = capsys.readouterr().out
    lines = told.splitlines()
    assert [line for line in lines if line.startswith("  energy     not measured (sensors: ")]
    assert [line for line in lines if line.strip().startswith("predicted for jetson-tx2: ")]
    assert [line for line in lines if line.startswith("  latency    ")]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["gone.onnx"], 2, "gone.onnx"),
        (["model.txt"], 2, "an .onnx file"),
        (["model.onnx", "--on", "ftp://board"], 2, "--on"),
        (["model.onnx", "--on", "rpc://tracker/rpi4"], 2, "rpc://tracker:port/key"),
        (["model.onnx", "--target", "rpi4"], 2, "--target"),
        (["model.onnx", "--boards", "2"], 2, "--boards"),
        (["model.onnx", "--on", "rpc://tracker:9190/rpi4", "--energy", "first"], 2, "--energy"),
        (["model.onnx", "--pin", "a-b"], 2, "--pin"),
        (["model.onnx", "--threads", "0"], 2, "--threads"),
        (["model.onnx", "--threads", "-3"], 2, "found:    -3"),
        (["model.onnx", "--energy-seconds", "-2.5"], 2, "found:    -2.5"),
        (["model.onnx", "--idle-seconds", "-1"], 2, "--idle-seconds"),
        (["model.onnx", "--provider", "cud"], 2, "Did you mean 'cuda'?"),
        (["model.onnx", "--energy", "wall"], 2, "--energy"),
        (["model.onnx"], 3, "Protobuf"),
    ],
)
def test_what_cannot_be_measured_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("model.onnx", "model.txt"):
        (tmp_path / name).write_text("no model")
    assert run(["profile", "model", *arguments, *QUICK, "--out", "measured.json"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert told in captured.err
    assert not (tmp_path / "measured.json").exists()
