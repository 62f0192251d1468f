"""The pre-commit hook, run by pre-commit itself in a repository of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOOKS = ROOT / ".pre-commit-hooks.yaml"
pytest.importorskip("pre_commit")
pytestmark = pytest.mark.skipif(
    not HOOKS.is_file() or shutil.which("git") is None, reason="the hook is not installed with the package, or no git"
)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Git without the user's settings, pre-commit without its store, and `edgekd` as the program of this checkout."""
    program = tmp_path / "bin" / "edgekd"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'from edgekd.cli.app import main; main()' \"$@\"\n")
    program.chmod(0o755)
    who = {f"GIT_{role}_{what}": "x@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return {
        **os.environ,
        **who,
        "HOME": str(tmp_path),
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PRE_COMMIT_HOME": str(tmp_path / "store"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "PYTHONWARNINGS": "ignore",
    }


def _run(folder: Path, environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_pre_commit_runs_the_hook_on_model_files_alone(tmp_path: Path, environment: dict[str, str]) -> None:
    hooks, work = tmp_path / "hooks", tmp_path / "work"
    for folder in (hooks, work):
        folder.mkdir()
        assert _run(folder, environment, "git", "init", "-q").returncode == 0
    shutil.copy(HOOKS, hooks)
    _run(hooks, environment, "git", "add", "-A")
    assert _run(hooks, environment, "git", "commit", "-qm", "hooks").returncode == 0
    (work / "edgekd.toml").write_text('[check]\nmax_size = "1KB"\n')
    (work / "small.onnx").write_bytes(bytes(1000))
    (work / "notes.txt").write_bytes(bytes(5000))
    _run(work, environment, "git", "add", "-A")
    hook = ("try-repo", str(hooks), "edgekd-check", "--verbose", "--all-files")
    pre_commit = (sys.executable, "-m", "pre_commit", *hook)
    ended = _run(work, environment, *pre_commit)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "small.onnx: readable" in ended.stdout
    assert "notes.txt" not in ended.stdout

    (work / "large.onnx").write_bytes(bytes(1001))
    _run(work, environment, "git", "add", "-A")
    ended = _run(work, environment, *pre_commit)
    assert ended.returncode == 1
    assert "large.onnx: the size of 1 KB (1,001 bytes) is more than the budget of 1 KB" in ended.stdout
    assert "(edgekd.toml, check.max_size)" in ended.stdout
