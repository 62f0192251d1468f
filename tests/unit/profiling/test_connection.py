"""The agent answers here and over ssh, and leaves nothing behind."""

from __future__ import annotations

import ast
import contextlib
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
from typing import Any

import numpy as np
import pytest
import torch

from edgekd.errors import ConnectionLostError, DeviceError, InputError
from edgekd.export.onnx.graph import OnnxGraph
from edgekd.profiling.connection import Device, connect
from edgekd.profiling.place import Place, parse_place
from edgekd.records import TensorSpec

AGENT = Path(__file__).resolve().parents[3] / "edgekd" / "agent"
LOCAL = Place(kind="local")
QUICK: dict[str, Any] = {
    "threads": 1,
    "providers": ["CPUExecutionProvider"],
    "warmup_s": 0.01,
    "min_runs": 20,
    "max_runs": 60,
    "max_s": 2.0,
    "tolerance": 0.05,
    "limit_s": 30.0,
}


def model(channels: int = 4, size: int = 8) -> bytes:
    """A convolution and a ReLU."""
    graph = OnnxGraph()
    weight = graph.constant(np.ones((channels, 3, 3, 3), dtype=np.float32))
    graph.add("Relu", graph.add("Conv", "input", weight, kernel_shape=[3, 3]), output="logits")
    spec = TensorSpec(name="input", shape=(3, size, size))
    content: bytes = graph.model((spec,), (("logits", torch.float32),)).SerializeToString()
    return content


def folders() -> set[str]:
    """What agents of this test have left, or still use."""
    return {path.name for path in Path(os.environ["TMPDIR"]).glob("edgekd-*")}


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path_factory.mktemp("agents")))


@pytest.fixture
def device() -> Iterator[Device]:
    with connect(LOCAL) as device:
        yield device


# The agent


@pytest.mark.parametrize("path", sorted(AGENT.glob("*.py")), ids=lambda path: path.name)
def test_the_agent_is_python_3_8_and_imports_nothing_a_board_lacks(path):
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module))
    foreign = {name for name in imported if name.partition(".")[0] not in sys.stdlib_module_names}
    assert all(name in ("numpy", "onnxruntime") or name.startswith("edgekd.agent") for name in foreign)


def test_a_device_says_what_it_is(device):
    import onnxruntime

    assert device.name == "local"
    assert device.fingerprint["onnxruntime"] == onnxruntime.__version__
    assert device.fingerprint["machine"] == os.uname().machine
    assert device.fingerprint["allowed_cores"] == sorted(os.sched_getaffinity(0))
    assert isinstance(device.request("state")["governors"], list)


def test_a_model_is_measured_with_its_distribution_and_its_operators(device):
    digest = device.send_model(model())
    found = device.request("measure", digest=digest, timeout_s=60, **QUICK, operators=True)
    assert 20 <= found["runs"] <= 60
    assert 0 < found["min_us"] <= found["p50_us"] <= found["p90_us"] <= found["p99_us"] <= found["max_us"]
    assert found["providers"] == ["CPUExecutionProvider"]
    # The ReLU is fused into the convolution.
    kinds = [operator["operator"] for operator in found["operators"]]
    assert any("Conv" in kind for kind in kinds)
    assert "Relu" not in kinds
    assert all(0 <= operator["p50_us"] <= operator["p90_us"] for operator in found["operators"])
    assert isinstance(found["warnings"], list)


def test_more_work_takes_longer_and_more_memory(device):
    small, large = (
        device.request("measure", digest=device.send_model(model(*size)), timeout_s=60, **QUICK)
        for size in ((4, 8), (64, 256))
    )
    assert large["p50_us"] > 10 * small["p50_us"]
    # 64 x 254 x 254 floats.
    assert large["peak_bytes"] > 64 * 254 * 254 * 4


def test_a_measurement_is_pinned_to_cores(device):
    core = sorted(os.sched_getaffinity(0))[0]
    found = device.request("measure", digest=device.send_model(model()), timeout_s=60, **QUICK, pin=[core])
    assert found["runs"] >= 20
    assert device.request("hello")["fingerprint"]["allowed_cores"] == sorted(os.sched_getaffinity(0))


def test_a_model_is_sent_once(device):
    content = model()
    digest = device.send_model(content)
    assert device.request("has", digest=digest) == {"has": True}
    device.request("measure", digest=digest, timeout_s=60, **QUICK, forget=True)
    assert device.request("has", digest=digest) == {"has": False}


def test_energy_for_each_inference_comes_from_the_sensor_asked_for(device, tmp_path):
    (tmp_path / "meter.py").write_text(
        "import time\nfor _ in range(900):\n    print(4.0, flush=True)\n    time.sleep(0.005)\n"
    )
    sensor = f"command:{sys.executable} {tmp_path / 'meter.py'}"
    digest = device.send_model(model())
    energy = device.request("measure", digest=digest, timeout_s=60, **QUICK, sensor=sensor, energy_s=0.5)["energy"]
    assert energy["mean_w"] == pytest.approx(4.0)
    assert energy["joules_per_inference"] == pytest.approx(4.0 * energy["seconds"] / energy["runs"])
    assert energy["idle_w"] is None
    assert energy["samples"] >= 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"providers": ["CUDAExecutionProvider"]}, "has no CUDAExecutionProvider, only"),
        ({"sensor": "ina3221:VDD_NOTHING", "energy_s": 0.1}, "no sensor 'ina3221:VDD_NOTHING' here"),
        ({"digest": "0" * 64}, "the model was not sent"),
        ({"digest": "../../etc/passwd"}, "is no digest"),
        ({"limit_s": 0.0}, "did not end within 0.0 s"),
    ],
    ids=["provider", "sensor", "unknown model", "path", "time"],
)
def test_what_cannot_be_measured_is_told_and_the_device_goes_on(device, fields, message):
    digest = device.send_model(model())
    with pytest.raises(DeviceError, match=message) as caught:
        device.request("measure", timeout_s=60, **{"digest": digest, **QUICK, **fields})
    assert caught.value.exit_code == 3
    assert device.request("measure", digest=digest, timeout_s=60, **QUICK)["runs"] >= 20


def test_a_file_that_is_no_model_is_told(device):
    with pytest.raises(DeviceError, match="Protobuf"):
        device.request("measure", digest=device.send_model(b"no model"), timeout_s=60, **QUICK)


def test_nothing_stays_when_a_device_is_left():
    with connect(LOCAL) as device:
        device.send_model(model())
        assert folders()
    assert not folders()


def test_a_measurement_ends_with_the_connection():
    device = connect(LOCAL)
    digest = device.send_model(model(64, 256))
    long = QUICK | {"max_runs": 10**9, "min_runs": 10**9, "max_s": 1e9, "limit_s": 1e9}
    asked = threading.Thread(
        target=lambda: _ignoring(lambda: device.request("measure", digest=digest, timeout_s=60, **long))
    )
    asked.start()
    children = _children_of(device._process.pid, expected=1)
    device._process.stdin.close()
    asked.join(timeout=30)
    assert device._process.wait(timeout=30) == 0
    device.close()
    assert not [child for child in children if Path(f"/proc/{child}").exists()]
    assert not folders()


def test_a_device_that_dies_half_way_is_an_error_of_the_stage():
    with connect(LOCAL) as device:
        digest = device.send_model(model())
        os.kill(device._process.pid, signal.SIGKILL)
        with pytest.raises(ConnectionLostError) as caught:
            device.request("measure", digest=digest, timeout_s=60, **QUICK)
    assert caught.value.exit_code == 4
    assert "repeat the command to go on" in caught.value.hint


def _ignoring(function: Callable[[], object]) -> None:
    with contextlib.suppress(ConnectionLostError, ValueError):
        function()


def _children_of(process: int, *, expected: int) -> list[int]:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        text = Path(f"/proc/{process}/task/{process}/children").read_text()
        if len(text.split()) >= expected:
            return [int(child) for child in text.split()]
        time.sleep(0.01)
    raise AssertionError("no child was started")


# Addresses


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("local", Place(kind="local")),
        ("ssh://pi@rpi4.local", Place(kind="ssh", host="pi@rpi4.local")),
        ("ssh://pi@rpi4.local:2222", Place(kind="ssh", host="pi@rpi4.local", port=2222)),
        ("ssh://board", Place(kind="ssh", host="board")),
        ("rpc://tracker:9190/rpi4", Place(kind="rpc", host="tracker", port=9190, key="rpi4")),
        ("rpc://[::1]:9190/rpi4", Place(kind="rpc", host="[::1]", port=9190, key="rpi4")),
    ],
)
def test_a_place_is_read_from_its_address(text, place):
    assert parse_place(text) == place
    assert place.name == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "board",
        "ftp://board",
        "ssh://",
        "ssh://pi:secret@board",
        "ssh://board/folder",
        "ssh://-oProxyCommand=x",
        "ssh://b:x",
        "rpc://tracker/rpi4",
        "rpc://tracker:9190",
        "rpc://tracker:9190/",
        "rpc://tracker:9190/rpi4/0",
        "rpc://:9190/rpi4",
        "rpc://user@tracker:9190/rpi4",
        "rpc://tracker:99999/rpi4",
    ],
)
def test_another_address_is_refused(text):
    with pytest.raises(InputError) as caught:
        parse_place(text)
    assert caught.value.where == "--on"
    assert "secret" not in str(caught.value)


# Over ssh, to a real server on this machine


@dataclass(frozen=True)
class Server:
    """A running sshd, and what a client needs to get in."""

    place: Place
    options: tuple[str, ...]
    process: subprocess.Popen[bytes]
    folder: Path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    program = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    if program is None or shutil.which("ssh") is None or shutil.which("ssh-keygen") is None:
        pytest.skip("OpenSSH's client and server are not installed: apt-get install openssh-client openssh-server")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = [
        f"Port {port}", "ListenAddress 127.0.0.1", f"HostKey {tmp_path / 'host'}", "StrictModes no", "UsePAM no",
        f"AuthorizedKeysFile {tmp_path / 'user.pub'}", "PasswordAuthentication no", "PermitRootLogin yes",
        f"PidFile {tmp_path / 'pid'}",
    ]  # fmt: skip
    (tmp_path / "config").write_text("\n".join(settings) + "\n")
    host_key = " ".join((tmp_path / "host.pub").read_text().split()[:2])
    (tmp_path / "known").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([program, "-D", "-e", "-f", tmp_path / "config"], stderr=log)
    _wait_for(port)
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    options = (
        "-i",
        str(tmp_path / "user"),
        "-o",
        "IdentitiesOnly=yes",
        "-o",
        f"UserKnownHostsFile={tmp_path / 'known'}",
    )
    try:
        yield Server(Place(kind="ssh", host=f"{user}@127.0.0.1", port=port), options, process, tmp_path)
    finally:
        process.terminate()
        process.wait()


def python_there() -> str:
    """The Python of the other end, which does not get this test's environment by itself."""
    return f"env TMPDIR={os.environ['TMPDIR']} {sys.executable}"


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


def test_a_model_is_measured_over_ssh_and_nothing_stays(server):
    with connect(server.place, python=python_there(), ssh_options=server.options) as device:
        assert device.name == server.place.name
        found = device.request("measure", digest=device.send_model(model()), timeout_s=60, **QUICK)
        assert found["runs"] >= 20
        assert folders()
    deadline = time.monotonic() + 10
    while folders() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not folders()


def test_a_wrong_host_key_is_refused_before_anything_is_sent(server):
    known = server.folder / "known"
    other = server.folder / "user.pub"
    known.write_text(f"{known.read_text().split()[0]} {' '.join(other.read_text().split()[:2])}\n")
    with pytest.raises(DeviceError) as caught:
        connect(server.place, python=python_there(), ssh_options=server.options)
    assert caught.value.exit_code == 3
    assert "accept it yourself" in caught.value.hint


def test_a_key_that_is_not_known_there_is_refused(server):
    (server.folder / "user.pub").write_text("")
    with pytest.raises(DeviceError) as caught:
        connect(server.place, python=python_there(), ssh_options=server.options)
    assert "ssh-copy-id" in caught.value.hint


def test_a_board_without_python_is_told(server):
    with pytest.raises(DeviceError) as caught:
        connect(server.place, python="python0", ssh_options=server.options)
    assert "Python 3.8" in caught.value.hint


def test_an_unreachable_board_is_told():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        if shutil.which("ssh") is None:
            pytest.skip("there is no ssh: apt-get install openssh-client")
        with pytest.raises(DeviceError) as caught:
            connect(Place(kind="ssh", host="nobody@127.0.0.1", port=port))
    assert caught.value.exit_code == 3
    assert "that the board is on" in caught.value.hint


def test_a_connection_cut_in_the_middle_ends_the_measurement_there(server):
    device = connect(server.place, python=python_there(), ssh_options=server.options)
    digest = device.send_model(model(64, 256))
    long = QUICK | {"max_runs": 10**9, "min_runs": 10**9, "max_s": 1e9, "limit_s": 1e9}
    failures: list[ConnectionLostError] = []

    def ask() -> None:
        try:
            device.request("measure", digest=digest, timeout_s=60, **long)
        except ConnectionLostError as error:
            failures.append(error)

    asked = threading.Thread(target=ask)
    asked.start()
    time.sleep(1.0)
    device._process.kill()
    asked.join(timeout=30)
    device.close()
    assert [failure.exit_code for failure in failures] == [4]
    deadline = time.monotonic() + 30
    while folders() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not folders()
