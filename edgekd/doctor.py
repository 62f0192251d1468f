"""What this machine can do: libraries, what they reach, compilers, emulator, sensors, ssh.

Every library is asked in a process of its own, so that one that is broken, or ends its process, is a line of the answer
like any other, and so that nothing heavy is loaded here.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from edgekd import __version__
from edgekd.agent.sensors import find_sensors
from edgekd.hardware.target import load_target, target_names

_TIMEOUT_S = 60.0
_LEAST_PYTHON = (3, 11)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One thing the machine has or lacks: what it is for, what was found, and the command that brings it."""

    name: str
    purpose: str
    is_there: bool
    found: str
    remedy: str | None = None


# Each prints one line about the library it imports.
_PROGRAMS: Mapping[str, str] = MappingProxyType(
    {
        "torch": """
import torch
gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
print(f"{torch.__version__}, {torch.get_num_threads()} threads, {', '.join(gpus) or 'no GPU'}")
""",
        "onnx": "import onnx; print(onnx.__version__)",
        "onnxruntime": """
import onnxruntime
names = [name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers()]
print(f"{onnxruntime.__version__}, providers {', '.join(names)}")
""",
        "tvm": """
import tvm
kinds = [kind for kind in ("llvm", "cuda", "opencl", "vulkan", "metal", "rocm") if tvm.runtime.enabled(kind)]
print(f"{tvm.__version__}, builds for {', '.join(kinds) or 'nothing'}")
""",
    }
)
_LIBRARIES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "torch": ("compress, search, prune and inspect networks", "pip install torch"),
        "onnx": ("write and read ONNX files", "pip install onnx"),
        "onnxruntime": ("run, verify and measure ONNX files", "pip install onnxruntime"),
        "tvm": ("build libraries for a target's processor", "pip install 'edgekd[tvm]'"),
    }
)


def examine() -> tuple[Part, ...]:
    """Return everything this machine has or lacks, in the order in which a user meets it."""
    return (
        _python(),
        *(_library(name) for name in _LIBRARIES),
        *(_compiler(name, targets) for name, targets in _compilers().items()),
        _program("qemu-aarch64", "run files for 64-bit Arm boards here", "apt-get install qemu-user"),
        _program("ssh", "measure on a board", "apt-get install openssh-client"),
        _sensors(),
    )


def _python() -> Part:
    version = platform.python_version()
    return Part(
        name="python",
        purpose="run EdgeKD",
        is_there=sys.version_info >= _LEAST_PYTHON,
        found=f"{version}, {platform.system()} {platform.machine()}, EdgeKD {__version__}",
        remedy="Install Python 3.11 or later.",
    )


def _library(name: str) -> Part:
    purpose, remedy = _LIBRARIES[name]
    try:
        ended = subprocess.run(  # noqa: S603  # this Python, with a program of ours
            [sys.executable, "-W", "ignore", "-c", _PROGRAMS[name]],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        found = f"no answer within {_TIMEOUT_S:.0f} s"
        return Part(name=name, purpose=purpose, is_there=False, found=found, remedy=remedy)
    if ended.returncode == 0 and ended.stdout.strip():
        return Part(name=name, purpose=purpose, is_there=True, found=ended.stdout.strip().splitlines()[-1])
    said = ended.stderr.strip().splitlines()
    reason = "none" if f"No module named '{name}'" in ended.stderr else f"it does not load: {said[-1] if said else ''}"
    return Part(name=name, purpose=purpose, is_there=False, found=reason, remedy=remedy)


def _compilers() -> dict[str, list[str]]:
    """Return the cross compilers that targets ask for, each with the names of those targets."""
    found: dict[str, list[str]] = {}
    for name in target_names():
        for processor in load_target(name).processors:
            if processor.cross_compiler is not None:
                found.setdefault(processor.cross_compiler, []).append(name)
    return found


def _compiler(name: str, targets: list[str]) -> Part:
    count = f"{len(targets)} targets" if len(targets) > 1 else targets[0]
    return _program(name, f"link TVM libraries for {count}", f"apt-get install g++-{name.partition('-g++')[0]}")


def _program(name: str, purpose: str, remedy: str) -> Part:
    # Debian also has emulators that are linked statically, under a name of their own.
    place = shutil.which(name) or shutil.which(f"{name}-static")
    return Part(
        name=name,
        purpose=purpose,
        is_there=place is not None,
        found=place or "none on the PATH",
        remedy=None if place else remedy,
    )


def _sensors() -> Part:
    sensors = find_sensors()
    for sensor in sensors:
        sensor.close()
    names = ", ".join(sensor.name for sensor in sensors)
    remedy = "Measure on a board that has one, or with a meter: edgekd profile model --energy command:PROGRAM"
    return Part(
        name="sensors",
        purpose="measure energy",
        is_there=bool(sensors),
        found=names or "none that can be read",
        remedy=None if sensors else remedy,
    )
