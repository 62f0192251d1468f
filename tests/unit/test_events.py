from __future__ import annotations

import struct
from pathlib import Path

import pytest

from edgekd.errors import OutputError
from edgekd.events import EventLog


def read_events(folder: Path) -> list[tuple[int, dict[str, float]]]:
    """Step and scalars of every event in the one file of a folder; checksums are checked."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    (path,) = folder.glob("events.out.tfevents.*")
    data, events = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        record = data[12 : 12 + length]
        assert struct.unpack("<I", data[8:12])[0] == masked_crc32c(data[:8])
        assert struct.unpack("<I", data[12 + length : 16 + length])[0] == masked_crc32c(record)
        events.append(Event.FromString(record))
        data = data[16 + length :]
    assert events[0].file_version == "brain.Event:2"
    return [(event.step, {v.tag: v.simple_value for v in event.summary.value}) for event in events[1:]]


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
