"""A device that runs EdgeKD's agent and answers its requests.

The agent (`edgekd.agent`) is sent over the connection itself and lives only as long as it: here it is a child process,
on a board one that `ssh` starts. Nothing is installed there and nothing stays.
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
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from edgekd.errors import ConnectionLostError, DeviceError, InputError, MissingDependencyError

_START_S = 60.0
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where to measure: `local`, or `user@host` and a port over ssh."""

    kind: str
    host: str = ""
    port: int | None = None

    @property
    def name(self) -> str:
        """What the user called it."""
        port = f":{self.port}" if self.port is not None else ""
        return self.kind if self.kind == "local" else f"{self.kind}://{self.host}{port}"


def parse_place(text: str) -> Place:
    """Return the place that `--on` names.

    Raises:
        InputError: It has another form.
    """
    if text == "local":
        return Place(kind="local")
    parts = urlsplit(text)
    try:
        port = parts.port
    except ValueError:
        port = -1
    host = parts.netloc if port is None else parts.netloc.rpartition(":")[0]
    is_whole = parts.scheme == "ssh" and bool(parts.hostname) and not parts.path.strip("/") and port != -1
    if not is_whole or parts.password is not None or host.startswith("-"):
        raise InputError(
            "--on",
            expected="local or ssh://user@host, with :port if it is not the usual one",
            found=f"'{text}'" if parts.password is None else "an address with a password in it",
            hint="Passwords are never taken from the command line: use a key that ssh knows (ssh-copy-id user@host).",
        )
    return Place(kind="ssh", host=host, port=port)


def connect(place: Place, *, python: str = "python3", ssh_options: tuple[str, ...] = ()) -> Device:
    """Start the agent and return the device it runs on.

    Args:
        place: Where.
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
    except BaseException:
        device.close()
        raise
    return device


class Device:
    """A running agent. Requests are answered one after the other."""

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
            hello = self.request("hello", timeout_s=_START_S)
        except ConnectionLostError as error:
            raise DeviceError(
                self.name,
                expected="a board that lets us in and has Python 3.8 or later",
                found=error.found,
                hint=_advice(error.found),
            ) from error
        self.fingerprint = hello["fingerprint"]
        self.sensors = {sensor["name"]: sensor["includes"] for sensor in hello["sensors"]}
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
            raise DeviceError(
                self.name,
                expected=f"an answer to '{do}'",
                found=answer["error"],
                hint="Nothing else was changed there.",
            )
        result: dict[str, Any] = answer["ok"]
        return result

    def send_model(self, content: bytes) -> str:
        """Bring a model to the device, unless it is there, and return its digest."""
        digest = hashlib.sha256(content).hexdigest()
        if not self.request("has", digest=digest)["has"]:
            text = base64.b64encode(content).decode()
            self.request("put", digest=digest, content=text, timeout_s=_ANSWER_S + len(text) / 1e5)
        return digest

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


def _advice(found: str) -> str:
    """Return what to do about what ssh said."""
    if "Host key verification failed" in found or "REMOTE HOST IDENTIFICATION HAS CHANGED" in found:
        return "Look at the board's key and accept it yourself, by connecting once with ssh."
    if "Permission denied" in found:
        return "Bring your key there: ssh-copy-id USER@HOST."
    if "not found" in found or "SyntaxError" in found:
        return "Install Python 3.8 or later there, or name the one to use with --device-python."
    return "Check the address, that the board is on, and that ssh gets in by itself."
