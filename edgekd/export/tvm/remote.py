"""Run libraries on one board of a farm, and answer as EdgeKD's agent does: a line of JSON in, a line of JSON out.

A process of its own for each board, because TVM's client waits for ever for a board that is gone: who started it ends
it. The board's server ends the session with the connection, or after `--session-s`, and takes the library with it.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tvm
from tvm import relax, rpc

from edgekd.agent import device, timing
from edgekd.errors import ConnectionLostError, DeviceError, EdgeKDError
from edgekd.export.tvm import state
from edgekd.export.tvm.tracker import Tracker

# Less than `Device.close` waits.
_FAREWELL_S = 5.0
_FITTING = "An ONNX file is compiled for --target NAME, and a .so file runs on the target of its run alone."
_DOUBTS = (
    "TVM's RPC server tells neither the memory that the model took nor the times of its operators",
    "TVM's code is not tuned, and as a rule many times slower than onnxruntime",
)


class _LeftError(BaseException):
    """Nobody waits for the measurement any more."""


class Board:
    """A session on a board, and the libraries brought for it by their digest."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.name = f"rpc://{options.host}:{options.port}/{options.key}"
        self.session: Any = None
        self.is_left = threading.Event()
        self.libraries: dict[str, dict[str, Any]] = {}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the reply to a request; what goes wrong is part of the reply."""
        handlers = {"hello": self._hello, "has": self._has, "put": self._put, "measure": self._measure}
        try:
            return {"ok": handlers[request["do"]](request)}
        except EdgeKDError as error:
            lost = isinstance(error, ConnectionLostError)
            return {"error": error.found, "expected": error.expected, "hint": error.hint, "lost": lost}

    def _hello(self, _: dict[str, Any]) -> dict[str, Any]:
        with Tracker(self.options.host, self.options.port) as tracker:
            lease = tracker.take(self.options.key, self.options.wait_s)
        self.name += f" at {lease.host}:{lease.port}"
        try:
            self.session = rpc.connect(lease.host, lease.port, lease.match_key, session_timeout=self.options.session_s)
        # What TVM's native code raises has many types.
        except Exception as error:
            raise DeviceError(
                self.name,
                expected=f"a TVM RPC server at {lease.host}:{lease.port}, as the tracker says",
                found=_last_line(error),
                hint="The board's address must hold here, too: start its server with --custom-addr.",
            ) from error
        return {"name": self.name, "fingerprint": state.fingerprint(self.session), "sensors": []}

    def _has(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"has": request["digest"] in self.libraries}

    def _put(self, request: dict[str, Any]) -> dict[str, Any]:
        content = base64.b64decode(request["content"])
        self.libraries[request["digest"]] = {**request, "content": bytearray(content)}
        return {"bytes": len(content)}

    def _measure(self, request: dict[str, Any]) -> dict[str, Any]:
        library = self.libraries[request["digest"]]
        if request.get("forget"):
            del self.libraries[request["digest"]]
        # Relax has no profiler of operators since it lost the one that worked over RPC.
        if request.get("operators"):
            return {"operators": []}
        self._refuse_what_tvm_cannot(request)
        with self._on_the_board("a measurement"):
            # A name of its own, because the board's linker takes a file of a known name for the one it has loaded.
            name = f"edgekd-{request['digest'][:16]}.so"
            self.session.upload(library["content"], name)
            try:
                return self._timed(name, library, request)
            finally:
                self.session.remove(name)

    def _refuse_what_tvm_cannot(self, request: dict[str, Any]) -> None:
        asked = {
            "a choice of cores (--pin)": request["pin"],
            "another provider than cpu": request["providers"] != ["CPUExecutionProvider"],
            "energy": request.get("sensor"),
        }
        for what, is_asked in asked.items():
            if is_asked:
                raise DeviceError(
                    self.name,
                    expected="what TVM's RPC can do",
                    found=what,
                    hint="Leave it out, or measure in onnxruntime with --on ssh://USER@HOST.",
                )

    def _timed(self, name: str, library: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
        """Return the distribution of single runs, timed on the board: inputs lie there, and outputs stay there."""
        self.session.get_function("runtime.config_threadpool")(1, request["threads"])
        cpu = self.session.cpu()
        machine = relax.VirtualMachine(self.session.load_module(name), cpu)
        generator = np.random.RandomState(0)
        inputs = [
            tvm.runtime.tensor(timing.random_input(generator, spec["shape"], spec["dtype"]), device=cpu)
            for spec in library["inputs"]
        ]
        machine.save_function("main", "timed", *inputs, include_return=False)
        once = machine.time_evaluator("timed", cpu, number=1, repeat=1)
        evaluator = machine.time_evaluator("timed", cpu, number=1, repeat=timing.BATCH)
        before = state.state(self.session)
        warm_runs = timing.warm_up(lambda: self._unless_left(once), request["warmup_s"])
        samples, stable = timing.settle(lambda: self._unless_left(evaluator), request)
        after = state.state(self.session)
        return {
            "runs": len(samples),
            "warmup_runs": warm_runs,
            "stable": stable,
            "peak_bytes": None,
            "runtime": f"TVM, {library['toolchain']}",
            "before": before,
            "after": after,
            "warnings": [*library["warnings"], *device.warnings_of(before, after), *_DOUBTS],
            **timing.quantiles(samples),
        }

    def _unless_left(self, evaluator: Callable[[], Any]) -> list[float]:
        """Return seconds of runs. TVM's server dies with a session that is cut while it works, so leave before them."""
        if self.is_left.is_set():
            raise _LeftError
        return list(evaluator().results)

    @contextlib.contextmanager
    def _on_the_board(self, what: str) -> Iterator[None]:
        """Turn what TVM raises into the board being gone, or not able to do it."""
        try:
            yield
        except Exception as error:
            if not self._is_there():
                raise ConnectionLostError(
                    self.name, expected=what, found=_last_line(error), hint="Repeat the command: another board may do."
                ) from error
            raise DeviceError(self.name, expected=what, found=_last_line(error), hint=_FITTING) from error

    def _is_there(self) -> bool:
        try:
            self.session.get_function("runtime.NumThreads")()
        except Exception:  # noqa: BLE001  (whatever it is, the board does not answer)
            return False
        return True


def main() -> None:
    """Serve standard input and output, until the input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("key")
    parser.add_argument("--wait-s", type=float, required=True)
    parser.add_argument("--session-s", type=float, required=True)
    board = Board(parser.parse_args())
    replies = os.fdopen(os.dup(1), "w")
    # What libraries print must not get among the replies.
    os.dup2(2, 1)
    # Ctrl-C goes to the whole group of processes; the one that started this one ends its input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests, board.is_left), daemon=True).start()
    with contextlib.suppress(_LeftError, BrokenPipeError):
        while line := requests.get():
            replies.write(json.dumps(board.answer(json.loads(line))) + "\n")
            replies.flush()


def _read(requests: queue.SimpleQueue[str], is_left: threading.Event) -> None:
    """Pass requests on, and an empty one when nobody asks any more; a board that does not answer is not waited for."""
    for line in sys.stdin:
        requests.put(line)
    is_left.set()
    requests.put("")
    time.sleep(_FAREWELL_S)
    os._exit(0)


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else 'no message'}"
