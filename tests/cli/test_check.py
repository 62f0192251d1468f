from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgekd.cli.app import run


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"x" * 200_000)
    return path


@pytest.mark.parametrize(
    ("limit", "code"),
    [("200KB", 0), ("0.2MB", 0), ("196KiB", 0), ("195KiB", 1), ("199999", 1), ("199.9kb", 1)],
)
def test_the_real_size_of_a_file_decides_the_exit_code(artifact: Path, limit: str, code: int) -> None:
    # 196 KiB are 200,704 bytes, 195 KiB are 199,680.
    assert run(["check", str(artifact), "--max-size", limit]) == code


def test_a_file_that_is_missing_exits_with_2(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(artifact), str(artifact) + ".gone", "--max-size", "1B"]) == 2
    out = capsys.readouterr().out
    assert "error size-over-budget" in out
    assert "error missing-file" in out


def test_findings_go_to_stdout_and_nothing_to_stderr(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(artifact)]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"ok: {artifact}: readable (no card beside it)\n"
    assert captured.err == ""


@pytest.mark.parametrize("option", [["--json"], ["--format", "json"], ["--format", "text", "--json"]])
def test_json_is_exactly_one_document(artifact: Path, capsys: pytest.CaptureFixture[str], option: list[str]) -> None:
    assert run(["check", str(artifact), "--max-size", "100KB", "--max-latency", "3ms", *option]) == 2
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert captured.err == ""
    assert document["exit_code"] == 2
    assert document["schema_version"] == 1
    assert [finding["code"] for finding in document["findings"]] == ["size-over-budget", "latency-not-known"]
    assert {finding["subject"] for finding in document["findings"]} == {str(artifact)}


@pytest.mark.parametrize("option", ["--max-size", "--max-latency", "--max-energy", "--max-memory"])
def test_a_bad_budget_names_its_option_before_anything_is_checked(
    artifact: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    assert run(["check", str(artifact), option, "5 apples"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: {option}\n")
    assert "'5 apples'" in captured.err
    assert "Write it like" in captured.err


@pytest.mark.parametrize("text", ["0", "0KB", "3ms", "-2KB", "2 MJ"])
def test_a_memory_budget_is_a_size_above_zero(artifact: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert run(["check", str(artifact), "--max-memory", text]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: --max-memory\n  expected: a size above zero with its unit\n")
    assert repr(text) in captured.err


def test_without_a_path_it_explains_its_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check"]) == 2
    assert "Usage: edgekd check" in capsys.readouterr().err


def test_a_hostile_file_name_does_not_reach_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "model\x1b[31m\nok: fake.onnx"
    assert run(["check", str(tmp_path / name)]) == 2
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert r"model\x1b[31m ok: fake.onnx" in out
    assert not any(line.startswith("ok:") for line in out.splitlines())


@pytest.mark.parametrize(("limit", "code"), [("200KB", 0), ("199KB", 1), ("apples", 2)])
def test_the_program_itself_exits_with_the_code(artifact: Path, limit: str, code: int) -> None:
    program = [sys.executable, "-W", "error", "-c", "from edgekd.cli.app import main; main()"]
    ended = subprocess.run([*program, "check", str(artifact), "--max-size", limit], check=False)
    assert ended.returncode == code
