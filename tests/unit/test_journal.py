from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from edgekd.errors import OutputError
from edgekd.journal import Journal
from edgekd.progress import Silent
from edgekd.records import Metric


class Recorder(Silent):
    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def begin(self, stage: str) -> None:
        self.calls.append(("begin", stage))

    def end(self, summary: str) -> None:
        self.calls.append(("end", summary))


def test_a_stage_that_ends_is_recorded_shown_and_appended(tmp_path: Path) -> None:
    recorder = Recorder()
    journal = Journal(tmp_path / "journal.jsonl", recorder)
    metric = Metric(value=0.5, samples=4, split="validation")
    with journal.stage("load") as outcome:
        outcome.summary = "loaded"
    with journal.stage("prune") as outcome:
        outcome.accuracy, outcome.macs, outcome.parameters = metric, 10, 20
    assert recorder.calls == [("begin", "load"), ("end", "loaded"), ("begin", "prune"), ("end", "done")]
    first, second = journal.results
    assert (first.name, first.summary, first.accuracy, first.macs) == ("load", "loaded", None, None)
    assert (second.name, second.accuracy, second.macs, second.parameters) == ("prune", metric, 10, 20)
    assert first.seconds >= 0
    lines = (tmp_path / "journal.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [dataclasses.asdict(result) for result in journal.results]


def test_a_stage_that_fails_is_not_recorded(tmp_path: Path) -> None:
    recorder = Recorder()
    journal = Journal(tmp_path / "journal.jsonl", recorder)
    with pytest.raises(RuntimeError, match="broken"), journal.stage("search"):
        raise RuntimeError("broken")
    assert journal.results == []
    assert not (tmp_path / "journal.jsonl").exists()
    assert recorder.calls == [("begin", "search")]


def test_a_line_torn_by_a_kill_does_not_spoil_the_lines_after_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('{"name": "load"}\n{"name": "sea')
    with Journal(path, Silent()).stage("search"):
        pass
    lines = path.read_text().splitlines()
    assert json.loads(lines[0]) == {"name": "load"}
    assert json.loads(lines[-1])["name"] == "search"


def test_a_journal_that_cannot_be_written_names_the_file_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "journal.jsonl"
    with pytest.raises(OutputError, match="room for a line") as caught, Journal(path, Silent()).stage("load"):
        pass
    assert caught.value.where == str(path)
    assert "--resume" in caught.value.hint
