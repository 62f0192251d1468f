"""Boards behind TVM's tracker: a real tracker and real servers, on this machine."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgekd.cli.app import run
from edgekd.errors import (
    ArtifactError,
    ConnectionLostError,
    DeviceError,
    ExportError,
    InputError,
    MissingDependencyError,
    UnknownNameError,
)
from edgekd.export.onnx.graph import OnnxGraph
from edgekd.export.tvm.compile import build_library
from edgekd.hardware.target import load_target
from edgekd.profiling.devices import measure_files, on_all
from edgekd.profiling.farm import Board, Libraries, measure_on_boards, open_boards
from edgekd.profiling.journal import Journal
from edgekd.profiling.model import Latency, Settings, measure_model
from edgekd.profiling.operators import OperatorSettings, measure_shared
from edgekd.profiling.place import Place
from edgekd.profiling.subjects import suite_subject
from edgekd.records import Artifact, TensorSpec
from edgekd.store import file_digest, write_json

if importlib.util.find_spec("tvm") is None:
    pytest.skip("TVM is not installed: edgekd[tvm]", allow_module_level=True)
if importlib.util.find_spec("tornado") is None:
    pytest.skip("TVM's tracker needs tornado: pip install tornado", allow_module_level=True)
if shutil.which("g++") is None:
    pytest.skip("there is no g++, which links the libraries", allow_module_level=True)

pytestmark = pytest.mark.xdist_group("farm")
QUICK = Settings(warmup_s=0.01, max_s=0.5, tolerance=0.2, min_runs=20)
LONG = Settings(warmup_s=0.01, min_runs=10**9, max_runs=10**9, max_s=1e9)


def write_model(path: Path, channels: int = 4, size: int = 8, dtype: str = "float32") -> Path:
    """A convolution and a ReLU."""
    graph = OnnxGraph()
    weight = graph.constant(np.ones((channels, 3, 3, 3), dtype=dtype))
    graph.add("Relu", graph.add("Conv", "input", weight, kernel_shape=[3, 3]), output="logits")
    spec = TensorSpec(name="input", shape=(3, size, size), dtype=dtype)
    path.write_bytes(graph.model((spec,), (("logits", getattr(torch, dtype)),)).SerializeToString())
    return path


@pytest.fixture
def onnx_path(tmp_path: Path) -> Path:
    return write_model(tmp_path / "net.onnx")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass(frozen=True)
class Farm:
    """A tracker with two boards under `pi`, and one under `doomed`."""

    port: int
    folder: Path
    servers: dict[str, subprocess.Popen[bytes]]

    def place(self, key: str) -> Place:
        return Place(kind="rpc", host="127.0.0.1", port=self.port, key=key)

    def libraries(self) -> set[Path]:
        """What lies in the boards' temporary folders."""
        return set(self.folder.rglob("*.so"))


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    folder = tmp_path_factory.mktemp("farm")
    port = free_port()
    started: list[subprocess.Popen[bytes]] = []

    def start(module: str, *options: str) -> subprocess.Popen[bytes]:
        with (folder / f"log{len(started)}").open("wb") as log:
            # A group of its own: each of them has a child that does the work.
            process = subprocess.Popen(
                [sys.executable, "-m", f"tvm.exec.{module}", "--host", "127.0.0.1", *options],
                stdout=log, stderr=log, start_new_session=True, env=os.environ | {"TMPDIR": str(folder)},
            )  # fmt: skip
        started.append(process)
        return process

    try:
        start("rpc_tracker", *at(port))
        wait_until(lambda: is_open(port))
        servers = {
            name: start("rpc_server", *at(free_port()), "--tracker", f"127.0.0.1:{port}", "--key", name.rstrip("2"))
            for name in ("pi", "pi2", "doomed")
        }
        wait_until(lambda: sum(boards(port).values()) == len(servers))
        yield Farm(port=port, folder=folder, servers=servers)
    finally:
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def at(port: int) -> tuple[str, ...]:
    return "--port", str(port), "--port-end", str(port + 1)


def boards(port: int) -> dict[str, int]:
    from edgekd.export.tvm.tracker import Tracker

    with Tracker("127.0.0.1", port) as tracker:
        return dict(tracker.boards())


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_boards_share_the_networks_of_a_table(farm: Farm, tmp_path: Path):
    settings = OperatorSettings(precisions=("fp32",), warmup_s=0.0, max_s=0.02)
    subjects = [suite_subject(number, most_macs=1e6) for number in range(2)]
    with open_boards(farm.place("pi"), Libraries("host"), count=2, session_s=300.0) as found:
        journal = Journal(tmp_path / "operators.jsonl", found[0].fingerprint)
        measure_shared(found, subjects, journal, settings, is_check=False)
    best = journal.best(settings.each[0], is_check=False)
    assert {entry.network for entry in best} == {subject.name for subject in subjects}
    assert all(entry.runtime.startswith("TVM") and entry.latency_us > 0 for entry in best)
    assert not any(entry.shares.nodes.any() for entry in best)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--on", "rpc://127.0.0.1:9/pi", "--precision", "int8"), "'int8'"),
        (("--on", "local", "--boards", "2"), "--boards"),
    ],
)
def test_a_table_of_what_tvm_cannot_is_refused(options: tuple[str, ...], told: str, tmp_path: Path, capsys):
    assert run(["profile", "ops", "--target", "host", "--out", str(tmp_path), *options]) == 2
    assert told in capsys.readouterr().err


def test_a_network_is_compiled_and_measured_on_a_board_and_nothing_stays_there(farm, onnx_path):
    before = farm.libraries()
    (found,) = measure_on_boards(farm.place("pi"), onnx_path, QUICK, target="host", count=1)
    latency = found.latency
    assert 0 < latency.min_us <= latency.p50_us <= latency.p90_us <= latency.p99_us <= latency.max_us
    assert latency.runs >= 20
    assert found.runtime.startswith("TVM, apache-tvm ")
    assert found.place.startswith(f"rpc://127.0.0.1:{farm.port}/pi at 127.0.0.1:")
    assert len(found.device["cores"]) == len(os.sched_getaffinity(0)) or found.device["cores"] == []
    assert (found.peak_bytes, found.energy, found.operators) == (None, None, ())
    assert any("neither the memory" in warning for warning in found.warnings)
    wait_until(lambda: farm.libraries() <= before)


def test_more_work_takes_longer_on_a_board(farm, tmp_path):
    files = [write_model(tmp_path / "small.onnx"), write_model(tmp_path / "large.onnx", channels=64, size=96)]
    with open_boards(farm.place("pi"), Libraries("host"), count=1, session_s=300) as devices:
        found = dict(measure_files(devices, files, QUICK))
    small, large = (found[path] for path in files)
    assert isinstance(small, Latency)
    assert isinstance(large, Latency)
    # 64 x 94 x 94 instead of 4 x 6 x 6 outputs: 3900 times as much work.
    assert large.p50_us > 10 * small.p50_us


def test_two_boards_of_a_key_measure_at_the_same_time_and_the_spread_is_told(farm, onnx_path, tmp_path, capsys):
    options = ("--target", "host", "--boards", "2", "--seconds", "0.5", "--tolerance", "0.2")
    place, out = farm.place("pi").name, tmp_path / "measured.json"
    assert run(["profile", "model", str(onnx_path), "--on", place, *options, "--out", str(out)]) == 0
    document = json.loads(out.read_text(encoding="utf-8"))
    medians = [each["latency"]["p50_us"] for each in document["boards"]]
    assert len({each["place"] for each in document["boards"]}) == 2
    assert document["spread"] == {
        "lowest_p50_us": min(medians),
        "middle_p50_us": pytest.approx(sum(medians) / 2),
        "highest_p50_us": max(medians),
    }
    told = capsys.readouterr().out.splitlines()
    assert len([line for line in told if line.startswith("  latency    ")]) == 2
    assert told.count("  memory     not measured") == 2
    assert told[-1].startswith("2 boards: medians from ")


def test_a_library_of_a_run_is_measured_as_it_ships(farm, onnx_path, capsys):
    library = onnx_path.with_suffix(".so")
    inputs = (TensorSpec(name="input", shape=(3, 8, 8)),)
    build_library(onnx_path, library, processor=load_target("host").processor("cpu"), inputs=inputs)
    with pytest.raises(ArtifactError, match=r"its card net\.json beside it"):
        measure_on_boards(farm.place("pi"), library, QUICK, target=None, count=1)
    card = Artifact(
        path="net.so",
        backend="tvm",
        precision="fp32",
        processor="cpu",
        target="host",
        plan_id="x",
        sha256=file_digest(library),
        size_bytes=library.stat().st_size,
        input_shape=(3, 8, 8),
        toolchain="apache-tvm of the run",
        inputs=inputs,
    )
    write_json(library.with_suffix(".json"), card)
    place = farm.place("pi").name
    quick = ("--seconds", "0.5", "--tolerance", "0.2")
    assert run(["profile", "model", str(library), "--on", place, *quick]) == 0
    assert "  runtime    TVM, apache-tvm of the run, cpu, 1 threads" in capsys.readouterr().out


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_network_of_fewer_bits_is_measured_too(farm, tmp_path, precision):
    path = tmp_path / "net.onnx"
    if precision == "fp16":
        write_model(path, dtype="float16")
    else:
        quantize(write_model(tmp_path / "float.onnx"), path)
    (found,) = measure_on_boards(farm.place("pi"), path, QUICK, target="host", count=1)
    assert found.latency.runs >= 20
    assert any("in float" in warning for warning in found.warnings) == (precision == "int8")


def quantize(path: Path, quantized: Path) -> None:
    """Let the weights go through eight bits."""
    model = onnx.load(path)
    (weight,) = [tensor for tensor in model.graph.initializer if tensor.dims[:] == [4, 3, 3, 3]]
    scale = onnx.numpy_helper.from_array(np.float32(0.01), "scale")
    zero = onnx.numpy_helper.from_array(np.int8(0), "zero")
    values = onnx.numpy_helper.from_array(np.full((4, 3, 3, 3), 100, dtype=np.int8), "quantized")
    model.graph.initializer.extend([scale, zero, values])
    node = onnx.helper.make_node("DequantizeLinear", ["quantized", "scale", "zero"], ["weight"])
    (convolution,) = [node for node in model.graph.node if node.op_type == "Conv"]
    convolution.input[1] = "weight"
    model.graph.initializer.remove(weight)
    model.graph.node.insert(0, node)
    onnx.save(model, quantized)


def test_a_board_that_falls_silent_is_given_up_and_nothing_runs_on(farm, onnx_path):
    with open_boards(farm.place("doomed"), Libraries("host"), count=1, session_s=300) as (board,):
        digest = board.send_file(onnx_path)
        os.killpg(farm.servers["doomed"].pid, signal.SIGSTOP)
        with pytest.raises(ConnectionLostError, match="no answer for 2 s"):
            board.request("measure", digest=digest, timeout_s=2.0, pin=None, providers=["CPUExecutionProvider"])
    assert board._process.poll() is not None
    os.killpg(farm.servers["doomed"].pid, signal.SIGCONT)


def test_a_board_killed_in_the_middle_is_an_error_of_the_stage(farm, onnx_path):
    with open_boards(farm.place("doomed"), Libraries("host"), count=1, session_s=300) as (board,):
        threading.Timer(1.5, lambda: os.killpg(farm.servers["doomed"].pid, signal.SIGKILL)).start()
        with pytest.raises(ConnectionLostError) as caught:
            measure_model(board, onnx_path, LONG)
    assert caught.value.exit_code == 4
    assert caught.value.where.startswith(f"rpc://127.0.0.1:{farm.port}/doomed at ")
    assert "Repeat the command" in caught.value.hint
    assert board._process.poll() is not None
    with pytest.raises(UnknownNameError):
        measure_on_boards(farm.place("doomed"), onnx_path, QUICK, target="host", count=1)


def test_the_first_board_that_fails_ends_the_work_on_the_others(farm, onnx_path):
    before = farm.libraries()
    with open_boards(farm.place("pi"), Libraries("host"), count=2, session_s=300) as devices:

        def measure(board: Board) -> object:
            if board is not devices[0]:
                return measure_model(board, onnx_path, LONG)
            time.sleep(2.0)
            os.kill(devices[1]._process.pid, signal.SIGINT)
            raise DeviceError("the first board", expected="an answer", found="none", hint="Look at it.")

        with pytest.raises(DeviceError, match="the first board"):
            on_all(devices, measure)
        assert all(board._process.poll() is not None for board in devices)
    wait_until(lambda: farm.libraries() <= before)
    # TVM's server would be gone if its session had been cut in the middle of its work.
    time.sleep(1.0)
    assert boards(farm.port)["pi"] == 2


def test_a_farm_that_is_busy_is_told(farm):
    from edgekd.export.tvm.tracker import Tracker

    with (
        open_boards(farm.place("pi"), Libraries("host"), count=2, session_s=300),
        Tracker("127.0.0.1", farm.port) as tracker,
        pytest.raises(DeviceError, match="all busy") as caught,
    ):
        tracker.take("pi", 0.3)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("key", "count", "error", "message"),
    [
        ("pj", 1, UnknownNameError, "Did you mean 'pi'"),
        ("pi", 3, DeviceError, "expected 3 boards, found 2"),
    ],
)
def test_boards_that_the_tracker_does_not_have_are_told(farm, onnx_path, key, count, error, message):
    with pytest.raises(error, match=message):
        measure_on_boards(farm.place(key), onnx_path, QUICK, target="host", count=count)


def test_a_tracker_nobody_can_reach_is_told_at_once(onnx_path, capsys):
    place = f"rpc://127.0.0.1:{free_port()}/pi"
    began = time.monotonic()
    assert run(["profile", "model", str(onnx_path), "--on", place, "--target", "host"]) == 3
    assert time.monotonic() - began < 20
    told = capsys.readouterr().err
    assert "Connection refused" in told
    assert "tvm.exec.rpc_tracker" in told


def test_another_service_is_no_tracker(onnx_path):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4)
                connection.sendall(b"HTTP")

        threading.Thread(target=answer, daemon=True).start()
        place = Place(kind="rpc", host="127.0.0.1", port=server.getsockname()[1], key="pi")
        with pytest.raises(DeviceError, match="no tracker"):
            measure_on_boards(place, onnx_path, QUICK, target="host", count=1)


def test_what_the_board_cannot_run_is_told_and_it_goes_on(farm, onnx_path, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(write_model(broken).read_bytes().replace(b"Relu", b"Rulu"))
    with open_boards(farm.place("pi"), Libraries("host"), count=1, session_s=300) as devices:
        found = dict(measure_files(devices, [broken, onnx_path], QUICK))
        assert isinstance(found[broken], ExportError)
        assert "--on ssh://" in found[broken].hint
        assert isinstance(found[onnx_path], Latency)
        pinned = Settings(pin=(0,))
        with pytest.raises(DeviceError, match="--pin"):
            measure_model(devices[0], onnx_path, pinned)


def test_a_library_for_another_machine_does_not_load_and_is_told(farm, onnx_path):
    target, compiler = ("rpi4", "aarch64-linux-gnu-g++") if os.uname().machine == "x86_64" else ("x86-64-vnni", "")
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no cross compiler {compiler or 'for x86-64'}")
    with pytest.raises(DeviceError) as caught:
        measure_on_boards(farm.place("pi"), onnx_path, QUICK, target=target, count=1)
    assert "--target" in caught.value.hint


def test_nothing_says_what_to_compile_for(farm, onnx_path):
    with pytest.raises(InputError, match="no card beside it") as caught:
        measure_on_boards(farm.place("pi"), onnx_path, QUICK, target=None, count=1)
    assert caught.value.where == "--target"


def test_tvm_is_asked_for_where_it_is_missing(monkeypatch, onnx_path):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tvm" else found(name))
    place = Place(kind="rpc", host="127.0.0.1", port=9190, key="pi")
    with pytest.raises(MissingDependencyError, match=r"pip install 'edgekd\[tvm\]'"):
        measure_on_boards(place, onnx_path, QUICK, target="host", count=1)
