"""Other forms than `.pt2` go the whole way, and what was remarked upon reaches the user."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from digits import Digits
from networks import build, images

from edgekd.cli.app import run
from edgekd.models.quiet import quiet_torch


@pytest.mark.slow
def test_an_onnx_file_with_a_wrong_suffix_is_compressed_and_the_report_says_what_it_is(
    digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "net.bin"
    with quiet_torch():
        module = torch.export.load(digits.model).module()
        torch.onnx.export(
            module, (torch.zeros(2, 1, 8, 8),), model, dynamo=True, dynamic_shapes=({0: "batch"},), verbose=False
        )
    shutil.copy(digits.model.with_suffix(".json"), tmp_path / "net.json")
    job = Digits(model=model, data=digits.data).job(tmp_path / "run", "--epochs", "0", "--evaluations", "12", "--json")
    assert run([*job, "--quiet"]) == 0
    captured = capsys.readouterr()
    assert f"note: {model}: this is an ONNX model" in captured.err
    codes = [finding["code"] for finding in json.loads(captured.out)["findings"]]
    assert "wrong-suffix" in codes


def test_remarks_are_on_stderr_and_in_the_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.onnx"
    with quiet_torch():
        torch.jit.save(torch.jit.trace(build("plain"), (images(1),)), path)
    assert run(["inspect", str(path), "--input-size", "3,8,8", "--arch", "torch.nn:Identity", "--json"]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["form"] == "torchscript"
    assert [remark["code"] for remark in document["remarks"]] == ["wrong-suffix", "arch-not-used"]
    assert captured.err.count("note: ") == 2
