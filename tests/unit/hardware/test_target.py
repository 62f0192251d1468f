import subprocess
import sys

import pytest

from edgekd.errors import TargetError, UnknownNameError
from edgekd.hardware.target import load_target, target_names

BOARD = """\
schema_version = 1
name = "board"
title = "A board"
memory_bytes = 1000
artifacts = [{ precision = "int8", processor = "cpu" }]
notes = []
sources = ["a data sheet"]

[[processors]]
kind = "cpu"
title = "4 x core"
runtime = "ONNX Runtime CPU"
fast = ["fp32"]
runs = ["int8"]
channel_multiple = 8
threads = 4
tvm_target = { kind = "llvm", mattr = ["+neon"], "num-cores" = 4 }
"""


@pytest.fixture
def board(tmp_path):
    def write(old="", new=""):
        assert old in BOARD
        path = tmp_path / "board.toml"
        path.write_text(BOARD.replace(old, new), encoding="utf-8")
        return path

    return write


def test_a_file_of_the_users_own_is_a_target(board):
    target = load_target(board())
    assert (target.name, target.memory_bytes, target.artifacts) == ("board", 1000, (("int8", "cpu"),))
    processor = target.processor("cpu")
    assert (processor.fast, processor.runs, processor.threads) == (("fp32",), ("int8",), 4)
    # Sorted, so that equal targets are equal values.
    assert processor.tvm_target == (("kind", "llvm"), ("mattr", ("+neon",)), ("num-cores", 4))
    assert target.channel_multiple == 8
    assert hash(target) == hash(load_target(str(board())))


def test_an_unknown_name_is_told_the_nearest():
    with pytest.raises(UnknownNameError) as caught:
        load_target("jetson-tx3")
    assert "Did you mean 'jetson-tx2'?" in caught.value.hint
    assert all(name in caught.value.hint for name in target_names())


@pytest.mark.parametrize(
    ("old", "new", "place", "expected", "found"),
    [
        ("memory_bytes = 1000\n", "", "key 'memory_bytes'", "a value", "no such key"),
        ("threads = 4", "thread = 4", "key 'processors.0.thread'", "a known key", "4"),
        ("memory_bytes = 1000", 'memory_bytes = "1 GB"', "key 'memory_bytes'", "integer", "'1 GB'"),
        ("channel_multiple = 8", "channel_multiple = 0", "key 'processors.0.channel_multiple'", "1", "0"),
        ('fast = ["fp32"]', 'fast = ["fp8"]', "key 'processors.0.fast.0'", "'fp32'", "'fp8'"),
        ("schema_version = 1", "schema_version = 2", "key 'schema_version'", "1", "2"),
        ('name = "board"', 'name = "bord"', "key 'name'", "'board'", "'bord'"),
        ('processor = "cpu"', 'processor = "gpu"', "key 'artifacts.0'", "a processor", "int8 for the gpu"),
        ('precision = "int8"', 'precision = "fp16"', "key 'artifacts.0'", "executes", "fp16 for the cpu"),
        ('sources = ["a data sheet"]', "sources = []", "key 'sources'", "at least 1 item", "[]"),
        ("notes = []", "notes = [", "board.toml", "TOML", ""),
    ],
    ids=[
        "missing key",
        "unknown key",
        "wrong type",
        "impossible number",
        "unknown precision",
        "other schema",
        "name is not the file's",
        "artifact without processor",
        "artifact the processor cannot run",
        "no source",
        "not TOML",
    ],
)
def test_a_wrong_file_is_refused_with_its_place(board, old, new, place, expected, found):
    path = board(old, new)
    with pytest.raises(TargetError) as caught:
        load_target(path)
    assert str(path) in caught.value.where
    assert place in caught.value.where
    assert expected in caught.value.expected
    assert found in caught.value.found
    assert caught.value.hint


def test_the_same_processor_twice_is_refused(board):
    table = BOARD[BOARD.index("[[processors]]") :]
    path = board(table, table + table)
    with pytest.raises(TargetError, match="each kind once"):
        load_target(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(TargetError, match="a file that can be read"):
        load_target(tmp_path / "nowhere.toml")


def test_targets_are_read_without_numpy_and_torch():
    code = "import sys; from edgekd.hardware import load_target, target_names; "
    code += "load_target(target_names()[0]); print({'numpy', 'torch', 'scipy'} & set(sys.modules))"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "set()"
