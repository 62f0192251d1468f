"""A disk that fills up while an artifact is written is told as such, and leaves what was there before."""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from networks import EXAMPLES, INPUTS, rebuilt

from edgekd.errors import ExportError
from edgekd.export.artifacts import save_student
from edgekd.export.onnx.export import export_onnx
from edgekd.prune.groups import find_groups
from edgekd.store import written_whole


@pytest.fixture
def limit_bytes() -> Iterator[object]:
    """A function that lets no file grow beyond so many bytes: the system refuses the write, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


def _assert_told(error: ExportError, path: Path) -> None:
    assert error.exit_code == 4
    assert error.where == str(path)
    assert error.expected == "room for the file"
    assert "--resume" in error.hint


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_it_may_show_only_when_the_file_is_flushed(tmp_path, monkeypatch, number):
    path = tmp_path / "artifact.onnx"
    path.write_bytes(b"old")

    def full(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ExportError) as caught, written_whole(path) as temporary:
        temporary.write_bytes(b"all of it")
    _assert_told(caught.value, path)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"old"]


def test_an_onnx_file_is_written_whole_or_not_at_all(tmp_path, limit_bytes):
    path = tmp_path / "artifact.onnx"
    path.write_bytes(b"old")
    limit_bytes(4096)  # the file has about 25 KB; torch.onnx writes nothing itself
    with pytest.raises(ExportError) as caught:
        export_onnx(rebuilt("residual"), path, precision="fp32", inputs=INPUTS, metadata={})
    limit_bytes(2**30)
    _assert_told(caught.value, path)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"old"]


# The weights are about 25 KB; the exported program about 80, of which the graph is the larger part.
@pytest.mark.parametrize(
    ("room", "name", "kept"),
    [(4096, "weights.safetensors", set()), (40_000, "student.pt2", {"weights.safetensors", "plan.json"})],
    ids=["weights", "program"],
)
def test_a_student_is_written_file_by_file(tmp_path, limit_bytes, room, name, kept):
    network = rebuilt("residual")
    limit_bytes(room)
    with pytest.raises(ExportError) as caught:
        save_student(network, tmp_path, find_groups(network).full_plan(), EXAMPLES)
    limit_bytes(2**30)
    _assert_told(caught.value, tmp_path / name)
    assert {file.name for file in tmp_path.iterdir()} == kept
