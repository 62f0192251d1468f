"""What the device is, and in which state: the things a measurement must be read with."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

_TIMEOUT_S = 5.0
# Below this share of its highest clock a core counts as slowed down.
_SLOWED = 0.9


def fingerprint(root: Path = Path("/")) -> dict[str, Any]:
    """Return what identifies the device and the software on it; what cannot be read is `None`."""
    return {
        "board": _board(root),
        "machine": platform.machine(),
        "cores": _core_names(root),
        "allowed_cores": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "memory_bytes": _memory_bytes(root),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "numpy": _version("numpy"),
        "onnxruntime": _version("onnxruntime"),
        "power_mode": _power_mode(),
    }


def state(root: Path = Path("/")) -> dict[str, Any]:
    """Return clocks, governors, temperature and throttling now; what cannot be read is empty or `None`."""
    return dict(clocks(root), throttled=_throttled())


def clocks(root: Path) -> dict[str, Any]:
    """Return the part of `state` that lies in files below `root`."""
    folders = sorted(root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq"))
    return {
        "governors": [_text(folder / "scaling_governor") for folder in folders],
        "mhz": [_mhz(folder / "scaling_cur_freq") for folder in folders],
        "highest_mhz": [_mhz(folder / "cpuinfo_max_freq") for folder in folders],
        "temperature_c": _temperature(root),
    }


def warnings_of(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return what makes a measurement between two states doubtful."""
    found = []
    loose = sorted({governor for governor in before["governors"] if governor not in (None, "performance")})
    if loose:
        found.append(f"clocks are not pinned (governor {', '.join(loose)}): sudo cpupower frequency-set -g performance")
    if not before["governors"]:
        found.append("the clocks cannot be read: whether they are pinned is not known")
    pairs = zip(after["mhz"], after["highest_mhz"])
    slowed = [
        f"{now:.0f} of {highest:.0f} MHz" for now, highest in pairs if now and highest and now < _SLOWED * highest
    ]
    if slowed:
        found.append(f"after the measurement {len(slowed)} cores ran below their highest clock ({slowed[0]})")
    if after["throttled"]:
        found.append(f"the device throttles: {after['throttled']}")
    return found


def _version(package: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        # Debian's packages of Python modules may come without metadata.
        return getattr(sys.modules.get(package), "__version__", None)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip("\x00\n ")
    except OSError:
        return None


def _mhz(path: Path) -> float | None:
    text = _text(path)
    return int(text) / 1e3 if text and text.isdigit() else None


def _board(root: Path) -> str | None:
    tree = _text(root / "proc/device-tree/model")
    return tree or _text(root / "sys/class/dmi/id/product_name")


def _core_names(root: Path) -> list[str]:
    """Return a name for each core: x86 says it, Arm gives the numbers of implementer and part."""
    text = _text(root / "proc/cpuinfo") or ""
    names = re.findall(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    parts = zip(
        re.findall(r"^CPU implementer\s*:\s*(\S+)", text, re.M), re.findall(r"^CPU part\s*:\s*(\S+)", text, re.M)
    )
    return [f"{implementer}:{part}" for implementer, part in parts] or names


def _memory_bytes(root: Path) -> int | None:
    found = re.search(r"^MemTotal:\s*(\d+) kB", _text(root / "proc/meminfo") or "", re.MULTILINE)
    return int(found.group(1)) * 1024 if found else None


def _temperature(root: Path) -> float | None:
    """Return the hottest zone in degrees Celsius."""
    texts = (_text(path) for path in root.glob("sys/class/thermal/thermal_zone*/temp"))
    values = [int(text) / 1e3 for text in texts if text and re.fullmatch(r"-?\d+", text)]
    return max(values) if values else None


def _said_by(*command: str) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    try:
        ended = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return ended.stdout.decode(errors="replace").strip()


def _power_mode() -> str | None:
    """Return the power mode of a Jetson, as `nvpmodel` says it."""
    said = _said_by("nvpmodel", "-q")
    return " ".join(said.split()) if said else None


def _throttled() -> str | None:
    """Return what a Raspberry Pi says of throttling now, or `None` where it does not, or nothing can be asked."""
    said = _said_by("vcgencmd", "get_throttled")
    found = re.search(r"=0x([0-9a-fA-F]+)", said or "")
    bits = int(found.group(1), 16) & 0xF if found else 0
    meanings = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")
    return ", ".join(name for bit, name in enumerate(meanings) if bits >> bit & 1) or None
