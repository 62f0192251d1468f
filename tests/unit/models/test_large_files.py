"""A file of 3 GB that is not the network's costs neither memory nor minutes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgekd.models.formats import form_of

SIZE = 3 * 10**9
# The limit is what torch has mapped once it is imported, and a file's worth less than the file.
PROGRAM = """
import resource, sys
from pathlib import Path
from edgekd.errors import ModelError
from edgekd.models.load import load_model
import safetensors.torch
used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
limit = used + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    load_model(Path(sys.argv[1]), arch='torch.nn:Identity', input_shape=(3, 8, 8))
except ModelError as error:
    print(error.found)
"""


def _sparse(path: Path, head: bytes) -> Path:
    with path.open("wb") as stream:
        stream.write(head)
        stream.truncate(SIZE)
    return path


def _safetensors_head() -> bytes:
    body = SIZE // 4 * 4
    for _ in range(3):  # the header's length depends on the numbers in it
        header = json.dumps({"w": {"dtype": "F32", "shape": [body // 4], "data_offsets": [0, body]}}).encode()
        header += b" " * (-len(header) % 4)
        body = SIZE - 8 - len(header)
    return len(header).to_bytes(8, "little") + header


def _load_within(path: Path, memory: int) -> str:
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(path), str(memory)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is limited through Linux's /proc")
@pytest.mark.parametrize("head", [b"", b"\x08\x0a\x3a\x80\x80\x80\x80\x40"], ids=["zeros", "onnx"])
def test_a_large_file_of_another_kind_is_not_read(tmp_path, head):
    found = _load_within(_sparse(tmp_path / "large.pt2", head), 5 * 10**8)
    assert found
    assert "MemoryError" not in found


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is limited through Linux's /proc")
def test_large_safetensors_of_another_network_are_refused_by_their_names(tmp_path):
    path = _sparse(tmp_path / "large.safetensors", _safetensors_head())
    assert form_of(path) == "safetensors"
    assert _load_within(path, 5 * 10**8) == "unknown w"
