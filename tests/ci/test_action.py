"""The composite GitHub Action: its steps run by bash with the environment that a runner gives them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ACTION = ROOT / "action.yml"
pytestmark = pytest.mark.skipif(not ACTION.is_file(), reason="the action is not installed with the package")


def _action() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(ACTION.read_text(encoding="utf-8"))
    return content


class Runner:
    """Runs steps as GitHub's runner does: inputs put in, files for outputs and the summary, temporary folder."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.work = folder / "work"
        self.work.mkdir()
        self.output, self.summary = folder / "output", folder / "summary"
        self.environment = {
            **environment,
            "RUNNER_TEMP": str(folder / "temp"),
            "GITHUB_ACTION_PATH": str(ROOT),
            "GITHUB_OUTPUT": str(self.output),
            "GITHUB_STEP_SUMMARY": str(self.summary),
        }
        (folder / "temp").mkdir()

    def step(self, name: str, inputs: dict[str, str]) -> subprocess.CompletedProcess[str]:
        action = _action()
        (step,) = [step for step in action["runs"]["steps"] if step["id"] == name]
        values = {key: entry["default"] for key, entry in action["inputs"].items()} | inputs
        given = {key: _put_in(text, values) for key, text in step["env"].items()}
        folder = self.work / _put_in(step.get("working-directory", "."), values)
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]],
            cwd=folder,
            env={**self.environment, **given},
            capture_output=True,
            text=True,
            check=False,
        )


def _put_in(text: str, values: dict[str, str]) -> str:
    return re.sub(r"\$\{\{ inputs\.([a-z-]+) \}\}", lambda match: values[match[1]], text)


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """A runner whose installation step stands aside for this Python."""
    runner = Runner(tmp_path, {"PATH": os.environ["PATH"], "HOME": str(tmp_path)})
    program = tmp_path / "temp" / "edgekd" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    program.chmod(0o755)
    (runner.work / "model.onnx").write_bytes(bytes(2000))
    return runner


def test_every_input_is_described_has_a_default_and_is_used() -> None:
    text = ACTION.read_text(encoding="utf-8")
    for name, entry in _action()["inputs"].items():
        assert entry["description"]
        assert isinstance(entry["default"], str)
        assert f"${{{{ inputs.{name} }}}}" in text
    # What users give never becomes part of a script: it comes by the environment.
    assert not [step for step in _action()["runs"]["steps"] if "${{" in step["run"]]
    assert all(step["shell"] == "bash" for step in _action()["runs"]["steps"])


@pytest.mark.parametrize(
    ("limit", "code", "verdict"), [("2KB", 0, "PASS"), ("1KB", 1, "FAIL"), ("2KB --max-macs 1k", 2, "INCONCLUSIVE")]
)
def test_the_check_step_ends_with_the_code_and_says_the_verdict(
    runner: Runner, limit: str, code: int, verdict: str
) -> None:
    inputs = {"paths": "model.onnx", "arguments": f"--max-size {limit}", "junit": "results/edgekd.xml"}
    ended = runner.step("check", inputs)
    assert ended.returncode == code, ended.stderr
    assert runner.output.read_text() == f"verdict={verdict}\n"
    assert runner.summary.read_text().startswith(f"## EdgeKD check: {verdict}\n")
    assert (runner.work / "results" / "edgekd.xml").is_file()
    assert "::error" in ended.stdout or code == 0


def test_without_paths_the_file_of_the_repository_decides(runner: Runner) -> None:
    (runner.work / "models").mkdir()
    (runner.work / "models" / "edgekd.toml").write_text('[check]\npaths = ["../*.onnx"]\nmax_size = "1KB"\n')
    ended = runner.step("check", {"working-directory": "models"})
    assert ended.returncode == 1
    assert "(edgekd.toml, check.max_size)" in ended.stdout


def test_nothing_in_an_input_is_run_by_the_shell(runner: Runner) -> None:
    runner.step("check", {"paths": "$(touch hit) `touch hit` ; touch hit", "arguments": "* && touch hit"})
    assert not (runner.work / "hit").exists()


@pytest.mark.slow
def test_the_installation_step_makes_an_environment_that_the_check_runs_in(tmp_path: Path) -> None:
    runner = Runner(tmp_path, {key: value for key, value in os.environ.items() if key != "PYTHONPATH"})
    (runner.work / "model.onnx").write_bytes(bytes(2000))
    installed = runner.step("install", {"python": sys.executable})
    if installed.returncode and re.search(r"No matching distribution|Connection|ensurepip", installed.stderr):
        pytest.skip(f"no package index, or no ensurepip, here: {installed.stderr.splitlines()[-1]}")
    assert installed.returncode == 0, installed.stderr
    ended = runner.step("check", {"paths": "model.onnx", "arguments": "--max-size 1KB --target rpi4"})
    # No ONNX file, so the operators cannot be told.
    assert ended.returncode == 2, ended.stderr
    assert "size-over-budget" in ended.stdout
