from __future__ import annotations

import io

import pytest

from edgekd import progress
from edgekd.progress import Lines, Progress, Silent


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


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
