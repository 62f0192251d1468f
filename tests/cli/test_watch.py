from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edgekd.cli.app import run
from edgekd.journal import Journal
from edgekd.progress import Recorded, Silent
from edgekd.records import Metric, Report
from edgekd.report import write_report
from edgekd.store import RunFolder

REPORT = Report(
    title="a run",
    verdict="pass",
    target="rpi4",
    plan_id="0123456789ab",
    rows=(),
    stages=(),
    budgets=(),
    findings=(),
    widths=(),
    provenance=(),
)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run whose search is a quarter done."""
    folder = RunFolder(tmp_path / "run")
    folder.root.mkdir()
    folder.manifest.write_text("{}")
    progress = Recorded(Silent(), folder)
    journal = Journal(folder.journal, progress)
    with journal.stage("load") as outcome:
        outcome.summary = "11 groups"
        outcome.accuracy = Metric(value=0.5, samples=10, split="validation")
    progress.begin("search")
    progress._written = 0.0
    progress.update(25, 100, "best loss 0.3")
    return folder


def test_a_running_run_shows_its_stages_and_how_far_it_is(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["watch", str(folder.root), "--once"]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("load     11 groups  (0s)  50.00 % of 10 validation images")
    assert last == "search    25%  best loss 0.3  (running)"


def test_a_run_whose_process_is_gone_says_how_to_go_on(folder: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    latest = json.loads(folder.progress.read_text())
    folder.progress.write_text(json.dumps({**latest, "process": ended.pid}))
    assert run(["watch", str(folder.root)]) == 0
    assert "STOPPED in search: go on with the same command and --resume" in capsys.readouterr().out


@pytest.mark.parametrize(("verdict", "code"), [("pass", 0), ("fail", 1)])
def test_a_finished_run_ends_with_its_verdict(
    folder: RunFolder, verdict: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    write_report(dataclasses.replace(REPORT, verdict=verdict), folder.report)  # type: ignore[arg-type]  # one of two
    assert run(["watch", str(folder.root)]) == code
    assert capsys.readouterr().out.splitlines()[-1] == f"{verdict.upper()}: edgekd report {folder.root}"
    assert run(["watch", str(folder.root), "--json"]) == code
    assert json.loads(capsys.readouterr().out)["state"] == verdict


def test_it_follows_until_the_report_is_there(folder: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    def go_on() -> None:
        time.sleep(0.3)
        with Journal(folder.journal, Silent()).stage("search") as outcome:
            outcome.summary = "100 plans"
        write_report(REPORT, folder.report)

    thread = threading.Thread(target=go_on)
    thread.start()
    assert run(["watch", str(folder.root)]) == 0
    thread.join()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["load", "search", "PASS:"]


def test_lines_that_a_kill_tore_off_are_passed_over(folder: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    with folder.journal.open("a") as stream:
        stream.write('{"name": "prune", "sum')
    folder.progress.write_text('{"stage"')
    assert run(["watch", str(folder.root)]) == 0
    out = capsys.readouterr().out
    assert "prune" not in out
    assert "STOPPED" in out


def test_hostile_text_in_a_run_does_not_reach_the_terminal(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    latest = {"stage": "se\x1b[2Jarch", "done": 1, "total": 2, "text": "\x1b]0;x\x07", "process": os.getpid()}
    folder.progress.write_text(json.dumps(latest))
    run(["watch", str(folder.root), "--once"])
    assert "\x1b" not in capsys.readouterr().out


def test_a_folder_that_is_no_run_exits_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["watch", str(tmp_path)]) == 2
    assert "manifest.json" in capsys.readouterr().err
