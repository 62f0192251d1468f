"""Answer requests until the connection ends: a line of JSON in, a line of JSON out.

Nothing is left behind: models and profiles lie in one temporary folder, which goes when the process does, and every
measurement is a process of its own, which is killed when the connection is cut.
"""

from __future__ import annotations

import base64
import hashlib
import json
import multiprocessing
import os
import select
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from edgekd.agent import device, timing
from edgekd.agent.energy import SensorError
from edgekd.agent.sensors import find_sensors


class _DisconnectedError(Exception):
    """Nobody is listening any more."""


class Agent:
    """The state between requests: a folder of models by their digest."""

    def __init__(self, folder: Path, stdin: int, root: Path = Path("/")) -> None:
        self.folder = folder
        self.stdin = stdin
        self.root = root

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the reply to a request; what goes wrong is part of the reply."""
        try:
            handlers = {
                "hello": self._hello,
                "state": lambda _: device.state(self.root),
                "has": lambda r: {"has": self._path(r["digest"]).exists()},
                "put": self._put,
                "measure": self._measure,
            }
            return {"ok": handlers[request["do"]](request)}
        except (timing.MeasureError, SensorError, KeyError, OSError, ImportError) as error:
            return {"error": f"{type(error).__name__}: {error}"}

    def _hello(self, _: dict[str, Any]) -> dict[str, Any]:
        sensors = find_sensors(self.root)
        told = [{"name": sensor.name, "includes": sensor.includes} for sensor in sensors]
        for sensor in sensors:
            sensor.close()
        return {"fingerprint": device.fingerprint(self.root), "sensors": told}

    def _path(self, digest: str) -> Path:
        if not digest.isalnum():
            raise timing.MeasureError(f"'{digest}' is no digest")
        return self.folder / f"{digest}.onnx"

    def _put(self, request: dict[str, Any]) -> dict[str, Any]:
        content = base64.b64decode(request["content"])
        digest = hashlib.sha256(content).hexdigest()
        if digest != request["digest"]:
            raise timing.MeasureError(f"the model arrived with digest {digest} instead of {request['digest']}")
        self._path(digest).write_bytes(content)
        return {"bytes": len(content)}

    def _measure(self, request: dict[str, Any]) -> dict[str, Any]:
        path = self._path(request["digest"])
        if not path.exists():
            raise timing.MeasureError("the model was not sent")
        before = device.state(self.root)
        result = self._in_a_process(path, request)
        after = device.state(self.root)
        if request.get("forget"):
            path.unlink()
        return dict(result, before=before, after=after, warnings=device.warnings_of(before, after))

    def _in_a_process(self, path: Path, request: dict[str, Any]) -> dict[str, Any]:
        import onnxruntime  # noqa: F401  (once, for all processes that are forked from this one)

        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_child, args=(theirs, path, request), daemon=True)
        process.start()
        theirs.close()
        try:
            ready, _, _ = select.select([ours.fileno(), self.stdin], [], [], request["limit_s"])
            if self.stdin in ready and ours.fileno() not in ready:
                raise _DisconnectedError
            if not ready:
                raise timing.MeasureError(f"the measurement did not end within {request['limit_s']} s")
            kind, found = ours.recv()
        except EOFError:
            process.join()
            raise timing.MeasureError(f"the measurement died (exit status {process.exitcode})") from None
        finally:
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, signal.SIGKILL)
            process.join()
            ours.close()
        if kind != "ok":
            raise timing.MeasureError(found)
        return dict(found)


def _child(pipe: Any, path: Path, request: dict[str, Any]) -> None:
    try:
        pipe.send(("ok", timing.measure(path, request)))
    except Exception as error:  # noqa: BLE001  (whatever onnxruntime raises is told to the other side)
        last = traceback.extract_tb(error.__traceback__)[-1]
        pipe.send(("error", f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"))
    finally:
        pipe.close()


def main() -> None:
    """Serve standard input and output."""
    replies = os.fdopen(os.dup(1), "w")
    # What libraries print must not get among the replies.
    os.dup2(2, 1)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(1))
    folder = tempfile.mkdtemp(prefix="edgekd-")
    try:
        agent = Agent(Path(folder), sys.stdin.fileno())
        while True:
            line = _line(sys.stdin.fileno())
            if not line:
                break
            replies.write(json.dumps(agent.answer(json.loads(line))) + "\n")
            replies.flush()
    except (_DisconnectedError, BrokenPipeError):
        pass
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _line(stdin: int) -> bytes:
    """Read a line without reading ahead, so that `select` sees everything that is still to come."""
    parts = []
    while True:
        chunk = os.read(stdin, 1 << 16)
        parts.append(chunk)
        if not chunk or chunk.endswith(b"\n"):
            return b"".join(parts)


if __name__ == "__main__":
    main()
