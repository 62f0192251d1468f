"""Ctrl-C in the middle of a run, sent as a terminal sends it."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from digits import Digits

from edgekd.cli.app import run

PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have had it ignored
from edgekd.cli.app import main
main()
"""


@pytest.mark.slow
def test_ctrl_c_leaves_a_run_that_the_printed_command_goes_on_with(digits: Digits, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    arguments = ["search", str(digits.model), "--data", str(digits.data), "--target", "jetson-tx2"]
    arguments += ["--evaluations", "32", "--run", str(folder), "--progress", "json"]
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stderr=subprocess.PIPE, text=True)
    losses = folder / "search" / "losses.jsonl"
    deadline = time.monotonic() + 200
    while not losses.is_file():
        assert process.poll() is None, "it ended before it could be interrupted"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if line]
    assert lines[-2].startswith("interrupted: everything that was finished is kept.")
    printed = shlex.split(lines[-1])
    assert printed == ["edgekd", *arguments, "--resume"]

    measured = losses.read_text().splitlines()
    assert run(["watch", str(folder)]) == 0
    assert run(printed[1:]) == 0
    # The losses that were measured are taken over: none is measured again.
    assert losses.read_text().splitlines()[: len(measured)] == measured
    plans = [json.loads(line)["plan"] for line in losses.read_text().splitlines()]
    assert len(measured) < len(plans) == len(set(plans))
    assert (folder / "search" / "front.json").is_file()
