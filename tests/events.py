"""Reading TensorBoard events back."""

from __future__ import annotations

import struct
from pathlib import Path


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
