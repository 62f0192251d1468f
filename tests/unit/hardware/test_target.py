import subprocess
import sys
from pathlib import Path

import pytest

from edgekd.errors import TargetError, UnknownNameError
from edgekd.hardware.target import load_target, target_names
from edgekd.records import Cores, Source

BOARD = """\
schema_version = 2
name = "board"
title = "A board"
memory_bytes = 1000
artifacts = [{ precision = "int8", processor = "cpu" }]
notes = []

[[processors]]
kind = "cpu"
title = "4 x core"
cores = [{ name = "core", count = 4, isa = ["asimd"] }]
runtimes = ["ONNX Runtime CPU", "TVM"]
fast = ["fp32"]
runs = ["int8"]
channel_multiple = 8
thread_counts = [4, 1]
launch_floor_us = 2.5
tvm_target = { kind = "llvm", mattr = ["+neon"], "num-cores" = 4 }

[[sources]]
facts = ["memory_bytes", "processors.cpu.cores", "processors.cpu.thread_counts"]
cite = "a data sheet"
url = "https://example.org/sheet"

[[sources]]
facts = [
    "processors.cpu.runtimes", "processors.cpu.fast", "processors.cpu.runs", "processors.cpu.channel_multiple",
    "processors.cpu.launch_floor_us", "processors.cpu.tvm_target",
]
cite = "a manual"
url = "https://example.org/manual"
note = "our own inference"
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
    assert (processor.fast, processor.runs) == (("fp32",), ("int8",))
    assert processor.cores == (Cores(name="core", count=4, isa=("asimd",)),)
    # Of several, the first is deployed.
    assert (processor.runtime, processor.runtimes) == ("ONNX Runtime CPU", ("ONNX Runtime CPU", "TVM"))
    assert (processor.threads, processor.thread_counts) == (4, (4, 1))
    assert (processor.launch_floor_us, processor.compute_capability) == (2.5, None)
    # Sorted, so that equal targets are equal values.
    assert processor.tvm_target == (("kind", "llvm"), ("mattr", ("+neon",)), ("num-cores", 4))
    assert target.channel_multiple == 8
    assert target.sources[1] == Source(
        facts=tuple(
            f"processors.cpu.{key}"
            for key in ("runtimes", "fast", "runs", "channel_multiple", "launch_floor_us", "tvm_target")
        ),
        cite="a manual",
        url="https://example.org/manual",
        note="our own inference",
    )
    assert hash(target) == hash(load_target(str(board())))


def test_what_is_not_known_stays_out(board):
    path = board("memory_bytes = 1000\n", "")
    path.write_text(path.read_text(encoding="utf-8").replace('"memory_bytes", ', ""), encoding="utf-8")
    target = load_target(path)
    assert target.memory_bytes is None


def test_a_class_of_processors_has_no_number_of_cores(board):
    cores = load_target(board("count = 4, ", "")).processor("cpu").cores
    assert cores == (Cores(name="core", count=None, isa=("asimd",)),)


def test_an_unknown_name_is_told_the_nearest():
    with pytest.raises(UnknownNameError) as caught:
        load_target("jetson-tx3")
    assert "Did you mean 'jetson-tx2'?" in caught.value.hint
    assert all(name in caught.value.hint for name in target_names())


@pytest.mark.parametrize(
    ("old", "new", "place", "expected", "found"),
    [
        ('title = "A board"\n', "", "key 'title'", "a value", "no such key"),
        ("channel_multiple = 8", "multiple = 8", "key 'processors.0.channel_multiple'", "a value", "no such key"),
        ("launch_floor_us", "launch_floor_ms", "key 'processors.0.launch_floor_ms'", "a known key", "2.5"),
        ("memory_bytes = 1000", 'memory_bytes = "1 GB"', "key 'memory_bytes'", "integer", "'1 GB'"),
        ("channel_multiple = 8", "channel_multiple = 0", "key 'processors.0.channel_multiple'", "1", "0"),
        ('fast = ["fp32"]', 'fast = ["fp8"]', "key 'processors.0.fast.0'", "'fp32'", "'fp8'"),
        ('fast = ["fp32"]', 'fast = ["int8"]', "key 'processors.0.runs'", "not in 'fast'", "int8"),
        ("thread_counts = [4, 1]", "thread_counts = []", "key 'processors.0.thread_counts'", "1 item", "[]"),
        ("thread_counts = [4, 1]", "thread_counts = [4, 8]", "key 'processors.0.thread_counts'", "4", "8"),
        ("count = 4", "count = 0", "key 'processors.0.cores.0.count'", "1", "0"),
        ("= 2.5", "= 0.0", "key 'processors.0.launch_floor_us'", "greater than 0", "0.0"),
        ("= 2.5", '= 2.5\ncompute_capability = "sm_62"', "key 'processors.0.compute_capability'", "match", "'sm_62'"),
        ("schema_version = 2", "schema_version = 1", "key 'schema_version'", "2", "1"),
        ('name = "board"', 'name = "bord"', "key 'name'", "'board'", "'bord'"),
        ('processor = "cpu"', 'processor = "gpu"', "key 'artifacts.0'", "a processor", "int8 for the gpu"),
        ('precision = "int8"', 'precision = "fp16"', "key 'artifacts.0'", "executes", "fp16 for the cpu"),
        (
            '[{ precision = "int8", processor = "cpu" }]',
            '[{ precision = "int8", processor = "cpu" }, { precision = "int8", processor = "cpu" }]',
            "key 'artifacts.1'",
            "each precision once",
            "int8",
        ),
        ("https://example.org/sheet", "example.org/sheet", "key 'sources.0.url'", "https", "'example.org/sheet'"),
        ('cite = "a manual"\n', "", "key 'sources.1.cite'", "a value", "no such key"),
        ('["memory_bytes", ', "[", "key 'memory_bytes'", "a source", "none"),
        ('"processors.cpu.tvm_target",', "", "key 'processors.cpu.tvm_target'", "a source", "none"),
        ('["memory_bytes", ', '["memory", ', "key 'sources.0.facts'", "facts that this file states", "'memory'"),
        ('"processors.cpu.fast"', '"processors.gpu.fast"', "key 'sources.1.facts'", "states", "'processors.gpu.fast'"),
        ("launch_floor_us = 2.5\n", "", "key 'sources.1.facts'", "states", "'processors.cpu.launch_floor_us'"),
        ("notes = []", "notes = []\ndetect = 1", "key 'detect'", "boolean", "1"),
        ("notes = []", "notes = [", "board.toml", "TOML", ""),
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


def test_an_unknown_fact_is_told_the_nearest(board):
    with pytest.raises(TargetError) as caught:
        load_target(board('"processors.cpu.cores"', '"processors.cpu.core"'))
    assert "Did you mean 'processors.cpu.cores'?" in caught.value.hint


def test_the_same_processor_twice_is_refused(board):
    table = BOARD[BOARD.index("[[processors]]") : BOARD.index("[[sources]]")]
    path = board(table, table + table)
    with pytest.raises(TargetError, match="each kind once"):
        load_target(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(TargetError, match="a file that can be read"):
        load_target(tmp_path / "nowhere.toml")


def test_a_file_may_ask_for_what_this_machine_is(board):
    path = board("memory_bytes = 1000", "detect = true")
    target = load_target(path)
    here = load_target("host")
    assert target.memory_bytes == here.memory_bytes
    assert target.processor("cpu").cores == here.processor("cpu").cores
    assert target.processor("cpu").launch_floor_us == 2.5


def test_only_a_cpu_can_be_detected(board):
    path = board("notes = []", "notes = []\ndetect = true")
    path.write_text(
        path.read_text(encoding="utf-8").replace('"cpu"', '"gpu"').replace(".cpu.", ".gpu."), encoding="utf-8"
    )
    with pytest.raises(TargetError, match="kind 'cpu'"):
        load_target(path)


def test_targets_are_read_without_numpy_and_torch():
    code = "import sys; from edgekd.hardware import load_target, target_names; "
    code += "[load_target(name) for name in target_names()]; print({'numpy', 'torch', 'scipy'} & set(sys.modules))"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "set()"


def test_the_file_in_the_documentation_is_valid(tmp_path):
    path = Path(__file__).resolve().parents[3] / "docs" / "targets.md"
    if not path.is_file():
        pytest.skip("the documentation is not installed with the package")
    example = path.read_text(encoding="utf-8").split("```toml\n")[1].split("```")[0]
    (tmp_path / "my-board.toml").write_text(example, encoding="utf-8")
    assert load_target(tmp_path / "my-board.toml").processor("cpu").threads == 2
