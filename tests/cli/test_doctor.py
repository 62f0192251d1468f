from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgekd import doctor
from edgekd.cli.app import run
from edgekd.doctor import Part, examine

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> tuple[Part, ...]:
    """A machine with onnxruntime and without an emulator."""
    there = Part(name="onnxruntime", purpose="run files", is_there=True, found="1.2.3")
    lacking = Part(name="qemu-aarch64", purpose="emulate", is_there=False, found="none", remedy="apt-get install x")
    monkeypatch.setattr(doctor, "examine", lambda: (there, lacking))
    return there, lacking


def test_every_missing_part_has_the_command_that_brings_it(
    parts: tuple[Part, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["ok", "onnxruntime", "1.2.3"]
    assert lines[1].split() == ["missing", "qemu-aarch64", "none"]
    assert lines[2].strip() == "to emulate: apt-get install x"


@pytest.mark.parametrize(("required", "code"), [("onnxruntime", 0), ("onnxruntime,qemu-aarch64", 3)])
def test_what_is_required_and_missing_exits_with_3(
    parts: tuple[Part, ...], required: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", "--require", required]) == code
    assert ("apt-get install x" in capsys.readouterr().err) == (code == 3)


def test_a_part_that_is_not_known_names_the_nearest(
    parts: tuple[Part, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", "--require", "onnxruntim"]) == 2
    assert "Did you mean 'onnxruntime'?" in capsys.readouterr().err


def test_what_is_found_here_is_what_is_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    (tmp_path / "qemu-aarch64-static").write_text("#!/bin/sh\n")
    (tmp_path / "qemu-aarch64-static").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    by_name = {part.name: part for part in examine()}
    assert by_name["python"].is_there
    assert by_name["onnxruntime"].found.startswith(f"{onnxruntime.__version__}, providers ")
    assert "CPU" in by_name["onnxruntime"].found
    assert by_name["qemu-aarch64"].found == str(tmp_path / "qemu-aarch64-static")
    assert not by_name["ssh"].is_there  # the search path holds the emulator alone
    assert not by_name["aarch64-linux-gnu-g++"].is_there
    assert by_name["aarch64-linux-gnu-g++"].remedy == "apt-get install g++-aarch64-linux-gnu"
    assert all(part.is_there or part.remedy for part in by_name.values())


@pytest.mark.parametrize(
    ("content", "words"),
    [("raise ImportError('broken wheel')", "broken wheel"), ("import os; os.abort()", "it does not load")],
    ids=["raises", "aborts"],
)
def test_it_runs_without_torch_and_with_one_that_is_broken(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(content)
    program = "from edgekd.cli.app import main; main()"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    ended = subprocess.run(
        [sys.executable, "-c", program, "doctor", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    (torch,) = [part for part in json.loads(ended.stdout)["parts"] if part["name"] == "torch"]
    assert not torch["is_there"]
    assert words in torch["found"]
    assert torch["remedy"] == "pip install torch"
