"""TensorBoard events: the curves of the search and of every training phase, in the run folder's `logs/`."""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping
from pathlib import Path

from edgekd.errors import OutputError


class EventLog:
    """Scalars in one event file of a folder, made when the first is written; on disk after every call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path: Path | None = None

    def write(self, scalars: Mapping[str, float], step: int) -> None:
        """Append scalars of one step.

        Raises:
            OutputError: The disk is full, or the folder cannot be written.
        """
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        records = [Event(wall_time=time.time(), step=step, summary=Summary(value=values))]
        if self._path is None:
            self._path = self.folder / f"events.out.tfevents.{time.time_ns()}"
            records.insert(0, Event(wall_time=time.time(), file_version="brain.Event:2"))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as stream:
                stream.writelines(_framed(record.SerializeToString()) for record in records)
        except OSError as error:
            raise OutputError(
                str(self._path), expected="room to write", found=str(error.strerror), hint="Free some space."
            ) from error


def _framed(record: bytes) -> bytes:
    """Return a record as TFRecord files hold it: length, its checksum, content, its checksum.

    Source: https://www.tensorflow.org/tutorials/load_data/tfrecord, "TFRecords format details".
    """
    from tensorboardX.record_writer import masked_crc32c

    length = struct.pack("<Q", len(record))
    return length + struct.pack("<I", masked_crc32c(length)) + record + struct.pack("<I", masked_crc32c(record))
