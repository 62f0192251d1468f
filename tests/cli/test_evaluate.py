from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from digits import FinishedRun

from edgekd.cli.app import run


@pytest.fixture
def artifact(finished: FinishedRun) -> Path:
    return finished.folder / "artifacts" / "model.int8.onnx"


def reported(finished: FinishedRun) -> dict[str, object]:
    document = json.loads((finished.folder / "report" / "report.json").read_text())
    rows = {row["path"]: row for row in document["rows"]}
    accuracy: dict[str, object] = rows["artifacts/model.int8.onnx"]["accuracy"]
    return accuracy


def test_it_prints_the_accuracy_of_the_report_with_its_standard_error(
    finished: FinishedRun, artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", str(artifact), "--data", str(finished.digits.data)]) == 0
    value = reported(finished)["value"]
    assert isinstance(value, float)
    error = 100 * math.sqrt(value * (1 - value) / 360)
    captured = capsys.readouterr()
    assert captured.out == f"{100 * value:.2f} % ± {error:.2f} % of 360 images (test)\n"
    assert captured.err == ""


def test_with_json_stdout_is_one_document_with_the_same_figures(
    finished: FinishedRun, artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", str(artifact), "--data", str(finished.digits.data), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == {"artifact": str(artifact), "accuracy": reported(finished)}


def test_another_part_of_the_data_can_be_asked_for(
    finished: FinishedRun, artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", str(artifact), "--data", str(finished.digits.data), "--part", "train"]) == 0
    # 1,797 digits, of which 360 are the test part.
    assert " of 1,437 images (train)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda folder, path: folder / "gone.onnx", "an ONNX file written by EdgeKD"),
        (lambda folder, path: _written(folder / "cut.onnx", path.read_bytes()[:5000]), "cut.onnx"),
        (lambda folder, path: _written(folder / "text.onnx", b"hello"), "an ONNX file written by EdgeKD"),
    ],
    ids=["missing", "cut", "text"],
)
def test_a_file_that_is_no_artifact_exits_with_2(
    finished: FinishedRun,
    artifact: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: object,
    told: str,
) -> None:
    assert callable(spoil)
    assert run(["evaluate", str(spoil(tmp_path, artifact)), "--data", str(finished.digits.data)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert told in captured.err


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_data_with_other_classes_or_without_the_part_exits_with_2(
    finished: FinishedRun, artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with np.load(finished.digits.data) as arrays:
        few = arrays["y_train"] < 3
        np.savez(tmp_path / "three.npz", x=arrays["x_train"][few], y=arrays["y_train"][few])
        np.savez(tmp_path / "train.npz", x=arrays["x_train"], y=arrays["y_train"])
    assert run(["evaluate", str(artifact), "--data", str(tmp_path / "three.npz")]) == 2
    assert "found:    0, 1, 2" in capsys.readouterr().err
    assert run(["evaluate", str(artifact), "--data", str(tmp_path / "train.npz")]) == 2
    assert "a part named 'test'" in capsys.readouterr().err
