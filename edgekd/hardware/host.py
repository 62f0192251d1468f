"""What the machine EdgeKD runs on is: its cores, their instruction sets and its memory.

Linux tells all of it in /proc; elsewhere, and where a file is missing, less is known, and what the target file
says stands. Reading never fails. A limit that a container sets on memory is not seen.
"""

from __future__ import annotations

import dataclasses
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgekd.records import Cores, Precision, Processor, Target

# Instruction sets that matter to networks, by the names of /proc/cpuinfo. Source: Linux kernel documentation,
# https://www.kernel.org/doc/html/latest/arch/arm64/elf_hwcaps.html and .../arch/x86/cpuinfo.html
_ISA = (
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2"),
    *("sse4_2", "avx", "fma", "avx2", "avx512f", "avx512bw", "avx512dq", "avx512vl"),
    *("avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16"),
)
# Each multiplies bytes and adds the products in one instruction.
DOT_PRODUCTS = frozenset({"asimddp", "i8mm", "avx512_vnni", "avx_vnni", "amx_int8"})

# LLVM's names of cores by implementer and part of /proc/cpuinfo. Source: Linux, arch/arm64/include/asm/cputype.h
_ARM_CORES = {
    ("0x41", "0xd03"): "cortex-a53",
    ("0x41", "0xd04"): "cortex-a35",
    ("0x41", "0xd05"): "cortex-a55",
    ("0x41", "0xd07"): "cortex-a57",
    ("0x41", "0xd08"): "cortex-a72",
    ("0x41", "0xd09"): "cortex-a73",
    ("0x41", "0xd0a"): "cortex-a75",
    ("0x41", "0xd0b"): "cortex-a76",
    ("0x41", "0xd0c"): "neoverse-n1",
    ("0x41", "0xd0d"): "cortex-a77",
    ("0x41", "0xd40"): "neoverse-v1",
    ("0x41", "0xd41"): "cortex-a78",
    ("0x41", "0xd42"): "cortex-a78ae",
    ("0x41", "0xd44"): "cortex-x1",
    ("0x41", "0xd49"): "neoverse-n2",
    ("0x41", "0xd4f"): "neoverse-v2",
    ("0x4e", "0x004"): "carmel",
}
# The levels of x86-64, highest first, by what tells them apart: processors with AVX2 and FMA have the rest of v3, too.
# Source: System V psABI for AMD64, section 3.1.1, Processor Architecture
_X86_LEVELS = (
    ("x86-64-v4", {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma"}),
    ("x86-64-v3", {"avx2", "fma"}),
    ("x86-64-v2", {"sse4_2"}),
)
# Instruction sets that a level or an unknown core does not include, by LLVM's names.
_LLVM_FEATURES = {"avx512_vnni": "avx512vnni", "avx_vnni": "avxvnni", "asimddp": "dotprod", "asimdhp": "fullfp16"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What could be found out about this machine. No cores means that nothing is known of them."""

    cores: tuple[Cores, ...]
    memory_bytes: int | None

    @property
    def isa(self) -> frozenset[str]:
        """The instruction sets that every core has, of those that matter here."""
        sets = [frozenset(each.isa) for each in self.cores]
        return frozenset.intersection(*sets) if sets else frozenset()


def read_machine(proc: Path = Path("/proc"), usable: frozenset[int] | None = None) -> Machine:
    """Return what this machine is, as far as it tells.

    Args:
        proc: Where the kernel's files are.
        usable: Numbers of the logical processors that may be used; by default those the process may run on.
    """
    if usable is None and hasattr(os, "sched_getaffinity"):
        usable = frozenset(os.sched_getaffinity(0))
    cores = _cores(_read(proc / "cpuinfo"), usable)
    if not cores:
        count = len(usable) if usable else os.cpu_count()
        cores = (Cores(name=platform.machine() or "unknown core", count=count),)
    return Machine(cores=cores, memory_bytes=_memory_bytes(_read(proc / "meminfo")))


def as_detected(target: Target, machine: Machine) -> Target:
    """Return the target with its CPU and memory as they were found; what is not known stays as the file has it."""
    found = target.processor("cpu")
    threads = sum(each.count or 1 for each in machine.cores)
    fast, runs = _precisions(found, machine.isa)
    cpu = dataclasses.replace(
        found,
        title=" + ".join(f"{each.count or '?'} x {each.name}" for each in machine.cores) or found.title,
        cores=machine.cores or found.cores,
        thread_counts=tuple(_halves(threads)) if machine.cores else found.thread_counts,
        fast=fast,
        runs=runs,
        channel_multiple=16 if "avx512f" in machine.isa else found.channel_multiple,
    )
    cpu = dataclasses.replace(cpu, tvm_target=_tvm_target(cpu, machine.isa))
    artifacts = target.artifacts
    if "int8" in cpu.fast:
        artifacts = tuple(sorted(artifacts, key=lambda shipped: shipped[0] != "int8"))
    return dataclasses.replace(
        target,
        processors=tuple(cpu if each.kind == "cpu" else each for each in target.processors),
        artifacts=artifacts,
        memory_bytes=machine.memory_bytes if machine.memory_bytes is not None else target.memory_bytes,
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _cores(cpuinfo: str, usable: frozenset[int] | None) -> tuple[Cores, ...]:
    """Count the cores of each kind; logical processors of one core (hyper-threads) count once."""
    kinds: dict[tuple[str, tuple[str, ...]], set[tuple[str, ...]]] = {}
    for entry in _entries(cpuinfo):
        number = entry.get("processor", "")
        if not number.isdigit() or (usable is not None and int(number) not in usable):
            continue
        words = (entry.get("flags") or entry.get("Features") or "").split()
        isa = tuple(name for name in _ISA if name in words)
        place = (entry["physical id"], entry["core id"]) if {"physical id", "core id"} <= set(entry) else (number,)
        kinds.setdefault((_core_name(entry), isa), set()).add(place)
    return tuple(Cores(name=name, count=len(places), isa=isa) for (name, isa), places in kinds.items())


def _entries(cpuinfo: str) -> Iterator[dict[str, str]]:
    for block in cpuinfo.split("\n\n"):
        pairs = (line.partition(":") for line in block.splitlines() if ":" in line)
        yield {key.strip(): value.strip() for key, _, value in pairs}


def _core_name(entry: dict[str, str]) -> str:
    implementer, part = entry.get("CPU implementer", "").lower(), entry.get("CPU part", "").lower()
    if implementer:
        return _ARM_CORES.get((implementer, part), f"Arm core {implementer}/{part}")
    return entry.get("model name") or platform.machine() or "unknown core"


def _memory_bytes(meminfo: str) -> int | None:
    for line in meminfo.splitlines():
        words = line.split()
        if words[:1] == ["MemTotal:"] and len(words) == 3 and words[1].isdigit() and words[2] == "kB":
            return int(words[1]) * 1024
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _halves(threads: int) -> Iterator[int]:
    """Yield the count and its halves down to one thread."""
    while threads > 1:
        yield threads
        threads //= 2
    yield 1


def _precisions(cpu: Processor, isa: frozenset[str]) -> tuple[tuple[Precision, ...], tuple[Precision, ...]]:
    """Return the precisions that gain and those that merely run; a dot product makes int8 gain."""
    if not DOT_PRODUCTS & isa:
        return cpu.fast, cpu.runs
    others = tuple(each for each in cpu.fast if each != "int8")
    return ("int8", *others), tuple(each for each in cpu.runs if each != "int8")


def _tvm_target(cpu: Processor, isa: frozenset[str]) -> tuple[tuple[str, str | int | tuple[str, ...]], ...]:
    """Return the file's dictionary with what LLVM may use of this machine. No triple: TVM takes this machine's."""
    described = dict(cpu.tvm_target) | {"num-cores": cpu.threads or 1}
    known = {each.name for each in cpu.cores} & set(_ARM_CORES.values())
    level = next((name for name, needed in _X86_LEVELS if needed <= isa), None)
    if level is not None:
        described["mcpu"] = level
    elif len(known) == len(cpu.cores) == 1:
        described["mcpu"] = known.pop()
    features = tuple(f"+{name}" for flag, name in _LLVM_FEATURES.items() if flag in isa)
    if features:
        described["mattr"] = features
    return tuple(sorted(described.items()))
