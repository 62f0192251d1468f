"""Read what a board tells of itself through a session of TVM's RPC: files of /sys that its server may read.

Files of /proc cannot be read this way, because they have no length.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from edgekd.agent import device

_CPUS = "sys/devices/system/cpu"
_NAMES = ("sys/firmware/devicetree/base/model", "sys/class/dmi/id/product_name")
_CLOCKS = ("scaling_governor", "scaling_cur_freq", "cpuinfo_max_freq")
_MOST_ZONES = 32


def fingerprint(session: Any) -> dict[str, Any]:
    """Return what identifies the board, as the agent does; what cannot be read is `None`."""
    with tempfile.TemporaryDirectory(prefix="edgekd-") as folder:
        root = Path(folder)
        names = (_copied(session, root, name) for name in _NAMES)
        triple = _told(session, "target.llvm_get_system_triple")
        return {
            "board": next((name for name in names if name), None),
            "machine": triple and triple.partition("-")[0],
            "cores": [_told(session, "target.llvm_get_system_cpu")] * len(_cpus(session, root)),
        }


def state(session: Any) -> dict[str, Any]:
    """Return clocks, governors and temperature now, as the agent does; what cannot be read is empty or `None`."""
    with tempfile.TemporaryDirectory(prefix="edgekd-") as folder:
        root = Path(folder)
        for number in _cpus(session, root):
            for name in _CLOCKS:
                if _copied(session, root, f"{_CPUS}/cpu{number}/cpufreq/{name}") is None:
                    break
        for number in range(_MOST_ZONES):
            if _copied(session, root, f"sys/class/thermal/thermal_zone{number}/temp") is None:
                break
        return {**device.clocks(root), "throttled": None}


def _cpus(session: Any, root: Path) -> list[int]:
    """Return the numbers of the processors that are online, which the kernel lists as `0-3,6`."""
    numbers: list[int] = []
    for part in filter(None, (_copied(session, root, f"{_CPUS}/online") or "").split(",")):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def _copied(session: Any, root: Path, name: str) -> str | None:
    """Copy a file of the board below `root`, and return what it says."""
    try:
        content = bytes(session.download(f"/{name}"))
    # The server's error for a file that is not there, or may not be read; a board that is gone shows later.
    except Exception:  # noqa: BLE001
        return None
    # The kernel gives fewer bytes than the length that it states.
    text = content.decode(errors="replace").strip("\x00\n ")
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return text


def _told(session: Any, function: str) -> str | None:
    """Return what a function of the board's TVM says; runtimes without a compiler do not have it."""
    try:
        return str(session.get_function(function)())
    except Exception:  # noqa: BLE001  (TVM raises errors of many kinds)
        return None
