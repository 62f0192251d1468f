"""A device that runs EdgeKD's agent and answers its requests.

The agent (`edgekd.agent`) is sent over the connection itself and lives only as long as it: here it is a child process,
on a board one that `ssh` starts. Nothing is installed there and nothing stays. Boards of a farm, which run no agent,
are in `farm`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import importlib.resources
import io
import json
import select
import shutil
import subprocess
import sys
import threading
import zipfile
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from edgekd.errors import ArtifactError, ConnectionLostError, DeviceError, MissingDependencyError
from edgekd.profiling.place import Place

_ANSWER_S = 30.0
# Read without buffering, because what follows on the same stream are requests.
_BOOTSTRAP = """
import os, shutil, sys, tempfile
def take(n):
    parts = b""
    while len(parts) < n:
        more = os.read(0, n - len(parts))
        if not more: sys.exit(1)
        parts += more
    return parts
folder = tempfile.mkdtemp(prefix="edgekd-")
try:
    path = os.path.join(folder, "agent.zip")
    with open(path, "wb") as file: file.write(take(%d))
    sys.path.insert(0, path)
    from edgekd.agent.__main__ import main
    main()
finally:
    shutil.rmtree(folder, ignore_errors=True)
"""


def connect(place: Place, *, python: str = "python3", ssh_options: tuple[str, ...] = ()) -> Device:
    """Start the agent and return the device it runs on.

    Args:
        place: Where; `local` or over ssh.
        python: Its Python there, at least 3.8, with numpy and onnxruntime. Here it is always this one.
        ssh_options: More options of `ssh`, such as `-i KEY`.

    Raises:
        DeviceError: It cannot be reached, its host key is not the known one, or Python there cannot run the agent.
        MissingDependencyError: There is no `ssh` here.
    """
    archive = _archive()
    program = _BOOTSTRAP % len(archive)
    if place.kind == "local":
        command = [sys.executable, "-u", "-c", program]
    else:
        if shutil.which("ssh") is None:
            raise MissingDependencyError(
                place.name, expected="the program ssh", found="none", hint="apt-get install openssh-client"
            )
        port = ("-p", str(place.port)) if place.port is not None else ()
        # Keys only, hosts only that are known: a question nobody answers would hang, and a guess would be unsafe.
        strict = ("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=15")
        alive = ("-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4")
        quoted = "'" + program.replace("'", "'\\''") + "'"
        command = ["ssh", *strict, *alive, *port, *ssh_options, "--", place.host, f"exec {python} -u -c {quoted}"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # noqa: S603
    device = Device(place.name, process)
    try:
        device.start(archive)
        device.require_onnxruntime()
    except BaseException:
        device.close()
        raise
    return device


class Device:
    """A running agent. Requests are answered one after the other."""

    promise = "a board that lets us in and has Python 3.8 or later"
    start_s = 60.0

    def __init__(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.fingerprint: dict[str, Any] = {}
        self.sensors: dict[str, str] = {}
        self._process = process
        self._said: deque[str] = deque(maxlen=20)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self, archive: bytes) -> None:
        """Send the agent and greet it."""
        try:
            self._send(archive)
            hello = self.request("hello", timeout_s=self.start_s)
        except ConnectionLostError as error:
            raise DeviceError(
                self.name,
                expected=self.promise,
                found=error.found,
                hint=self.advice(error.found),
            ) from error
        self.name = hello.get("name", self.name)
        self.fingerprint = hello["fingerprint"]
        self.sensors = {sensor["name"]: sensor["includes"] for sensor in hello["sensors"]}

    def require_onnxruntime(self) -> None:
        """Make sure the device has it.

        Raises:
            DeviceError: It has not.
        """
        if self.fingerprint["onnxruntime"] is None:
            raise DeviceError(
                self.name,
                expected="onnxruntime for its Python",
                found=f"Python {self.fingerprint['python']} without it",
                hint="On the board: python3 -m pip install numpy onnxruntime",
            )

    def request(self, do: str, *, timeout_s: float = _ANSWER_S, **fields: Any) -> dict[str, Any]:
        """Ask the agent and return its answer.

        Raises:
            ConnectionLostError: The connection ended, or nothing came in time.
            DeviceError: The agent could not do it; the message is its own.
        """
        self._send(json.dumps({"do": do, **fields}).encode() + b"\n")
        line = self._line(timeout_s)
        answer = json.loads(line)
        if "error" in answer:
            kind = ConnectionLostError if answer.get("lost") else DeviceError
            raise kind(
                self.name,
                expected=answer.get("expected", f"an answer to '{do}'"),
                found=answer["error"],
                hint=answer.get("hint", "Nothing else was changed there."),
            )
        result: dict[str, Any] = answer["ok"]
        return result

    def send_file(self, path: Path) -> str:
        """Bring what the device runs of a file to it, unless it is there, and return the digest it is known by there.

        Raises:
            ArtifactError: The file cannot be read, or the device does not run such files.
            ConnectionLostError: The device is gone.
        """
        return self.send_model(_read_onnx(path))

    def send_model(self, content: bytes, **about: Any) -> str:
        """Bring a model to the device, with what else it must know, unless it is there, and return its digest."""
        digest = hashlib.sha256(content).hexdigest()
        if not self.request("has", digest=digest)["has"]:
            text = base64.b64encode(content).decode()
            self.request("put", digest=digest, content=text, timeout_s=_ANSWER_S + len(text) / 1e5, **about)
        return digest

    def advice(self, found: str) -> str:
        """Return what to do about what was found instead of the device."""
        return _advice(found)

    def close(self) -> None:
        """End the agent, which takes its files with it."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join(timeout=5)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _send(self, content: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(content)
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError) as error:
            raise self._lost("the connection ended") from error

    def _line(self, timeout_s: float) -> bytes:
        stdout = self._process.stdout
        assert stdout is not None
        while b"\n" not in self._rest:
            ready, _, _ = select.select([stdout], [], [], timeout_s)
            if not ready:
                raise self._lost(f"no answer for {timeout_s:.0f} s")
            chunk = stdout.read1(1 << 16)  # type: ignore[attr-defined]  # a buffered reader has it
            if not chunk:
                raise self._lost("the connection ended")
            self._rest += chunk
        line, self._rest = self._rest.split(b"\n", 1)
        return line

    def _lost(self, what: str) -> ConnectionLostError:
        self._listener.join(timeout=2)
        told = " ".join(self._said)
        return ConnectionLostError(
            self.name,
            expected="an answer of the device",
            found=f"{what} ({told})" if told else what,
            hint="What was measured is kept: repeat the command to go on.",
        )

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._said.append(line.decode(errors="replace").strip())


def _archive() -> bytes:
    """Return the agent as a zip that Python can import from, with the same bytes each time."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("edgekd/__init__.py"), "")
        for source in sorted(importlib.resources.files("edgekd.agent").iterdir(), key=lambda path: path.name):
            if source.name.endswith(".py"):
                archive.writestr(zipfile.ZipInfo(f"edgekd/agent/{source.name}"), source.read_bytes())
    return buffer.getvalue()


def _read_onnx(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            str(path), expected="an ONNX file", found=str(error.strerror), hint="Check the path."
        ) from error
    if path.suffix != ".onnx":
        raise ArtifactError(
            str(path),
            expected="an .onnx file, which onnxruntime runs",
            found=f"'{path.suffix}'",
            hint="Measure the ONNX artifact of the run.",
        )
    return content


def _advice(found: str) -> str:
    """Return what to do about what ssh said."""
    if "Host key verification failed" in found or "REMOTE HOST IDENTIFICATION HAS CHANGED" in found:
        return "Look at the board's key and accept it yourself, by connecting once with ssh."
    if "Permission denied" in found:
        return "Bring your key there: ssh-copy-id USER@HOST."
    if "not found" in found or "SyntaxError" in found:
        return "Install Python 3.8 or later there, or name the one to use with --device-python."
    return "Check the address, that the board is on, and that ssh gets in by itself."
