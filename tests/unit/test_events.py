from __future__ import annotations

from pathlib import Path

import pytest
from events import read_events

from edgekd.errors import OutputError
from edgekd.events import EventLog


def test_scalars_are_on_disk_after_each_call_as_tensorboard_reads_them(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "logs")
    assert not (tmp_path / "logs").exists()
    log.write({"loss": 0.5, "accuracy": 0.25}, 1)
    assert read_events(tmp_path / "logs") == [(1, {"loss": 0.5, "accuracy": 0.25})]
    log.write({"loss": 0.125}, 2)
    assert read_events(tmp_path / "logs")[1:] == [(2, {"loss": 0.125})]


def test_a_folder_that_cannot_be_written_is_an_error_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(OutputError) as caught:
        EventLog(tmp_path / "logs").write({"loss": 1.0}, 1)
    assert caught.value.where.startswith(str(tmp_path / "logs"))
