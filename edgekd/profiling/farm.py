"""Boards behind TVM's RPC tracker: they run TVM's own server, and libraries that are compiled here.

A board answers the same requests as one that runs the agent, through a process here that holds its session
(`edgekd.export.tvm.remote`). TVM's protocol knows no passwords and gives everybody who reaches a board full power
over it: for trusted networks only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from edgekd.export.tvm.compile import require_package
from edgekd.export.tvm.library import Library, read_library
from edgekd.profiling.connection import Device
from edgekd.profiling.devices import on_all
from edgekd.profiling.model import Measurement, Settings, measure_model
from edgekd.profiling.place import Place

# For a board that is free.
_WAIT_S = 60.0
_PROGRAM = "import sys; sys.path.insert(0, {folder!r}); from edgekd.export.tvm.remote import main; main()"


class Libraries:
    """The libraries of files for one target, each compiled once for all boards."""

    def __init__(self, target: str | None) -> None:
        self._target = target
        self._known: dict[Path, Library] = {}
        self._lock = threading.Lock()

    def of(self, path: Path) -> Library:
        """Return the library of a file; only one is compiled at a time, as TVM's compiler wants it.

        Raises:
            EdgeKDError: As `edgekd.export.tvm.library.read_library`.
        """
        with self._lock:
            if path not in self._known:
                self._known = {path: read_library(path, self._target)}
            return self._known[path]


class Board(Device):
    """A board of a farm."""

    promise = "a board that the tracker gives away and that answers"
    start_s = _WAIT_S + 60.0

    def __init__(self, place: Place, libraries: Libraries, session_s: float) -> None:
        program = _PROGRAM.format(folder=str(Path(__file__).resolve().parents[2]))
        where = (place.host.strip("[]"), str(place.port), place.key)
        limits = ("--wait-s", str(_WAIT_S), "--session-s", str(session_s))
        command = [sys.executable, "-u", "-c", program, *where, *limits]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # noqa: S603
        super().__init__(place.name, process)
        self._libraries = libraries

    def send_file(self, path: Path) -> str:
        """Bring a file's library to the board."""
        library = self._libraries.of(path)
        inputs = [dataclasses.asdict(spec) for spec in library.inputs]
        return self.send_model(
            library.content, inputs=inputs, toolchain=library.toolchain, warnings=list(library.warnings)
        )

    def advice(self, found: str) -> str:  # noqa: ARG002
        """Return what to do about a board that does not answer."""
        return "Check that the board is on, and that its address, as the tracker has it, holds here, too."


def measure_on_boards(
    place: Place, path: Path, settings: Settings, *, target: str | None, count: int
) -> tuple[Measurement, ...]:
    """Measure an artifact on so many boards of a farm at the same time.

    Args:
        place: The tracker and the key of the boards.
        path: A `.so` file of a run, or an ONNX file, which is compiled first.
        settings: How to measure.
        target: What to compile for; `None` for what the card beside the file says.
        count: How many boards.

    Raises:
        ArtifactError, InputError, MissingDependencyError, ExportError: There is no library of it for the target.
        DeviceError, UnknownNameError: There are no such boards, or one of them cannot run the library.
        ConnectionLostError: A board is gone.
    """
    require_boards(place, count)
    libraries = Libraries(target)
    # Before a board is taken, which others could use while TVM compiles.
    libraries.of(path)
    with open_boards(place, libraries, count=count, session_s=2 * settings.limit_s) as boards:
        return on_all(boards, lambda board: measure_model(board, path, settings))


def require_boards(place: Place, count: int) -> None:
    """Make sure that the tracker has so many boards of the key, free or busy.

    Raises:
        MissingDependencyError: TVM is not installed.
        DeviceError: The tracker cannot be reached, or has fewer boards.
        UnknownNameError: It has no such key.
    """
    require_package("measure in onnxruntime: --on ssh://USER@HOST")
    from edgekd.export.tvm.tracker import Tracker

    assert place.port is not None
    with Tracker(place.host.strip("[]"), place.port) as tracker:
        tracker.require(place.key, count)


@contextlib.contextmanager
def open_boards(place: Place, libraries: Libraries, *, count: int, session_s: float) -> Iterator[tuple[Board, ...]]:
    """Take boards from the tracker, and give them back at the end.

    Args:
        place: The tracker and the key of the boards.
        libraries: What they will run.
        count: How many.
        session_s: After how long their servers end the session by themselves.

    Raises:
        DeviceError: None is free, or one that the tracker gave away does not answer.
        MissingDependencyError, UnknownNameError: As `require_boards`.
    """
    require_boards(place, count)
    with contextlib.ExitStack() as stack:
        boards = tuple(stack.enter_context(Board(place, libraries, session_s)) for _ in range(count))
        on_all(boards, lambda board: board.start(b""))
        yield boards
