from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgekd.cli import app

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_that_asks_the_program(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert f"_EDGEKD_COMPLETE={shell}_complete" in out


def test_an_unknown_shell_lists_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["completion", "tcsh"]) == 2
    assert "bash" in capsys.readouterr().err


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A search path with `edgekd` as the program of this checkout."""
    program = tmp_path / "edgekd"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'from edgekd.cli.app import main; main()' \"$@\"\n")
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        ("edgekd ch", {"check"}),
        ("edgekd check --max-s", {"--max-size"}),
        ("edgekd recipe ", {"show", "validate"}),
        ("edgekd check --format m", {"markdown"}),
    ],
)
def test_bash_completes_commands_options_and_values(
    environment: dict[str, str], words: str, completions: set[str]
) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash here")
    script = f"""
    eval "$(edgekd completion bash)"
    COMP_WORDS=({words}{" ''" if words.endswith(" ") else ""})
    COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
    _edgekd_completion edgekd
    printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    ended = subprocess.run([bash, "--norc", "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert set(ended.stdout.split()) == completions, ended.stderr
