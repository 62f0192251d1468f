from __future__ import annotations

import io
import json
import os
import re
import time
from pathlib import Path

import pytest

from edgekd import progress
from edgekd.cli.bar import Bar
from edgekd.progress import Events, Lines, Progress, Recorded, Silent
from edgekd.store import RunFolder


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1e9 + self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_elsewhere_than_on_a_terminal_each_stage_is_one_line(clock: Clock) -> None:
    stream = io.StringIO()
    lines = Lines(stream)
    for stage, seconds in (("search", 7.4), ("distill", 125.0)):
        lines.begin(stage)
        for done in range(1, 100):
            clock.now += seconds / 99
            lines.update(done, 99, "busy")
        lines.end(f"{stage} is done")
    assert stream.getvalue() == "search   search is done  (7s)\ndistill  distill is done  (2m05s)\n"


def test_on_a_terminal_the_line_is_rewritten_and_then_replaced_by_the_stage_s_own(clock: Clock) -> None:
    stream = Terminal()
    lines = Lines(stream)
    lines.begin("search")
    clock.now += 30.0
    lines.update(25, 100, "25 plans")
    # A quarter took 30 s, so three quarters take about 90.
    assert stream.getvalue() == "\r\x1b[Ksearch    25%  25 plans  about 1m30s left"
    lines.end("100 plans")
    assert stream.getvalue().endswith("\r\x1b[Ksearch   100 plans  (30s)\n")
    assert stream.getvalue().count("\n") == 1


def test_a_terminal_is_written_to_a_few_times_a_second_at_the_most(clock: Clock) -> None:
    stream = Terminal()
    lines = Lines(stream)
    lines.begin("distill")
    for done in range(1, 1001):
        clock.now += 0.002
        lines.update(done, 1000, "")
    # 2 seconds, a fifth of a second apart at the least.
    assert 5 <= stream.getvalue().count("\r") <= 10


@pytest.mark.parametrize(("done", "total"), [(0, 0), (0, 10), (5, 0), (10, 10)])
def test_no_count_makes_progress_fail(clock: Clock, done: int, total: int) -> None:
    stream = Terminal()
    lines = Lines(stream)
    lines.begin("search")
    clock.now += 1.0
    lines.update(done, total, "text")
    assert "text" in stream.getvalue()


def test_silent_shows_nothing_and_both_follow_the_protocol(capsys: pytest.CaptureFixture[str]) -> None:
    watchers: list[Progress] = [Silent(), Lines(io.StringIO())]
    for watcher in watchers:
        watcher.begin("search")
        watcher.update(1, 2, "text")
        watcher.end("done")
    assert capsys.readouterr() == ("", "")


def test_events_are_one_json_document_a_line(clock: Clock) -> None:
    stream = io.StringIO()
    events = Events(stream)
    events.begin("search")
    clock.now += 30.0
    events.update(25, 100, "25 plans")
    clock.now += 0.5
    events.update(26, 100, "too soon after the last")
    clock.now += 0.1
    events.update(100, 100, "the last one is always told")
    events.end("100 plans")
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in told] == ["begin", "update", "update", "end"]
    assert {line["stage"] for line in told} == {"search"}
    # A quarter took 30 s, so three quarters take 90.
    assert (told[1]["done"], told[1]["total"], told[1]["seconds_left"]) == (25, 100, 90.0)
    assert told[3]["seconds"] == pytest.approx(30.6)


def test_what_is_kept_for_others_is_the_latest_and_only_in_a_run(clock: Clock, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    recorded = Recorded(Silent(), folder)
    recorded.begin("load")
    assert list(tmp_path.iterdir()) == []
    folder.manifest.write_text("{}")
    recorded.begin("search")
    for done in range(1, 31):
        clock.now += 0.1
        recorded.update(done, 100, f"{done} plans")
    latest = json.loads(folder.progress.read_text())
    # At most a second old.
    assert (latest["stage"], latest["total"], latest["process"]) == ("search", 100, os.getpid())
    assert 20 <= latest["done"] <= 30


def test_on_a_terminal_a_bar_gives_way_to_the_line_of_its_stage() -> None:
    stream = Terminal()
    with Bar(stream) as bar:
        bar.begin("search")
        bar.update(25, 100, "best [loss] 0.3")
        time.sleep(0.3)  # rich draws ten times a second
        bar.end("100 plans [all]")
    text = stream.getvalue()
    assert "25%" in text
    assert "best [loss] 0.3" in text
    assert re.search(r"search   100 plans \[all\]  \(\ds\)", text)
