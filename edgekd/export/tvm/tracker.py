"""Ask TVM's RPC tracker which boards there are, and for one of them.

The tracker is a queue: it hands out a board that is free, or the next that becomes free. TVM's own client does not say
which board that is, and tries for a minute where nobody listens, so its protocol is spoken here.
Source: apache-tvm, tvm/rpc/tracker.py, module docstring.
"""

from __future__ import annotations

import socket
import struct
from collections import Counter
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tvm.rpc import base

from edgekd.errors import DeviceError, UnknownNameError

_ANSWER_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A board that the tracker gave away: its address, and the key that opens one session there."""

    host: str
    port: int
    match_key: str


class Tracker:
    """A connection to a tracker. What was asked for and not yet given is taken back when it is closed."""

    def __init__(self, host: str, port: int) -> None:
        """Connect.

        Raises:
            DeviceError: Nobody listens there, or it is no tracker.
        """
        self.name = f"rpc://{host}:{port}"
        try:
            self._socket = socket.create_connection((host, port), timeout=_ANSWER_S)
        except OSError as error:
            raise self._unreachable(str(error)) from error
        try:
            self._socket.sendall(struct.pack("<i", base.RPC_TRACKER_MAGIC))
            is_tracker = base.recvall(self._socket, 4) == struct.pack("<i", base.RPC_TRACKER_MAGIC)
        except OSError as error:
            self._socket.close()
            raise self._unreachable(f"something that is no tracker ({error})") from error
        if not is_tracker:
            self._socket.close()
            raise self._unreachable("something that is no tracker")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def boards(self) -> Counter[str]:
        """Return how many boards are registered under each key, busy ones included.

        Raises:
            DeviceError: The tracker does not answer.
        """
        try:
            servers = self._ask([base.TrackerCode.SUMMARY], _ANSWER_S)["server_info"]
        except TimeoutError as error:
            raise self._unreachable(f"no answer for {_ANSWER_S:.0f} s") from error
        return Counter(str(server["key"]).removeprefix("server:") for server in servers)

    def require(self, key: str, count: int) -> None:
        """Make sure that so many boards are registered under the key.

        Raises:
            DeviceError: There are fewer, or none at all.
            UnknownNameError: There are none under this key; the message has the nearest.
        """
        boards = self.boards()
        if boards and key not in boards:
            raise UnknownNameError(f"--on, a key of {self.name}", key, boards)
        if boards[key] < count:
            raise DeviceError(
                f"{self.name}/{key}",
                expected=f"{count} boards" if count > 1 else "a board",
                found=str(boards[key]) if boards else "none registered under any key",
                hint=f"On a board: python3 -m tvm.exec.rpc_server --tracker HOST:PORT --key {key}",
            )

    def take(self, key: str, wait_s: float) -> Lease:
        """Return a board of the key, as soon as one is free.

        Raises:
            DeviceError: None became free in time.
        """
        try:
            host, port, match_key = self._ask([base.TrackerCode.REQUEST, key, "", 1], wait_s)
        except TimeoutError as error:
            raise DeviceError(
                f"{self.name}/{key}",
                expected=f"a free board within {wait_s:.0f} s",
                found="all busy",
                hint="Try again later; python3 -m tvm.exec.query_rpc_tracker shows who waits.",
            ) from error
        return Lease(host=host, port=port, match_key=match_key)

    def _ask(self, question: list[Any], timeout_s: float) -> Any:
        self._socket.settimeout(timeout_s)
        try:
            base.sendjson(self._socket, question)
            status, answer = base.recvjson(self._socket)
        except TimeoutError:
            raise
        except (OSError, ValueError, struct.error) as error:
            raise self._unreachable(f"no answer ({error})") from error
        if status != base.TrackerCode.SUCCESS:
            raise self._unreachable(f"status {status}")
        return answer

    def _unreachable(self, found: str) -> DeviceError:
        return DeviceError(
            self.name,
            expected="TVM's RPC tracker",
            found=found,
            hint="Check the address, and that it runs: python3 -m tvm.exec.rpc_tracker --host 0.0.0.0 --port 9190",
        )
