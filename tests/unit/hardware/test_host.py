import os
from pathlib import Path

import pytest

from edgekd.hardware.host import Machine, as_detected, read_machine
from edgekd.hardware.target import load_target
from edgekd.records import Cores, Target

# /proc/cpuinfo as machines wrote it.
RECORDED = Path(__file__).parent / "proc"
ALL = frozenset(range(64))


def arm(number: int, part: str, features: str = "fp asimd evtstrm crc32 cpuid") -> str:
    return f"processor\t: {number}\nFeatures\t: {features}\nCPU implementer\t: 0x41\nCPU part\t: {part}\n\n"


def intel(number: int, core: int) -> str:
    return (
        f"processor\t: {number}\nmodel name\t: Some Xeon\nphysical id\t: 0\ncore id\t\t: {core}\n"
        "flags\t\t: fpu sse4_2 avx fma avx2\n\n"
    )


@pytest.fixture
def plain() -> Target:
    return load_target("generic-armv8.0")


def machine(tmp_path: Path, cpuinfo: str, usable: frozenset[int] = ALL) -> Machine:
    (tmp_path / "cpuinfo").write_text(cpuinfo, encoding="utf-8")
    return read_machine(tmp_path, usable)


def test_an_x86_machine_with_vnni_gains_from_int8(plain):
    found = read_machine(RECORDED / "epyc", ALL)
    assert [(cores.name, cores.count) for cores in found.cores] == [("AMD EPYC", 2)]
    assert {"avx2", "avx512f", "avx512_vnni"} <= found.isa
    assert "asimd" not in found.isa
    assert found.memory_bytes == 24684084 * 1024
    target = as_detected(plain, found)
    cpu = target.processor("cpu")
    assert (cpu.fast, cpu.runs) == (("int8", "fp32"), ())
    assert target.artifacts == (("int8", "cpu"), ("fp32", "cpu"))
    # 16 floats fill a 512-bit register.
    assert (cpu.threads, cpu.thread_counts, cpu.channel_multiple) == (2, (2, 1), 16)
    assert dict(cpu.tvm_target)["mcpu"] == "x86-64-v4"
    assert dict(cpu.tvm_target)["mattr"] == ("+avx512vnni",)
    assert target.memory_bytes == found.memory_bytes


def test_an_arm_machine_with_dot_product_gains_from_int8(plain):
    found = read_machine(RECORDED / "cortex-a55", ALL)
    assert found.cores == (Cores(name="cortex-a55", count=4, isa=("asimd", "asimdhp", "asimddp")),)
    cpu = as_detected(plain, found).processor("cpu")
    assert cpu.fast[0] == "int8"
    assert (cpu.title, cpu.thread_counts, cpu.channel_multiple) == ("4 x cortex-a55", (4, 2, 1), 8)
    described = dict(cpu.tvm_target)
    assert (described["mcpu"], described["num-cores"]) == ("cortex-a55", 4)


def test_an_arm_machine_without_dot_product_merely_runs_int8(plain, tmp_path):
    found = machine(tmp_path, "".join(arm(number, "0xd08") for number in range(4)))
    target = as_detected(plain, found)
    cpu = target.processor("cpu")
    assert (cpu.fast, cpu.runs) == (("fp32",), ("int8",))
    assert target.artifacts[0] == ("fp32", "cpu")


def test_kinds_of_cores_are_told_apart_and_what_all_have_decides(tmp_path, plain):
    big = "fp asimd fphp asimdhp asimddp"
    text = "".join(arm(number, "0xd03") for number in range(4)) + arm(4, "0xd0b", big) + arm(5, "0xd0b", big)
    found = machine(tmp_path, text)
    assert [(cores.name, cores.count) for cores in found.cores] == [("cortex-a53", 4), ("cortex-a76", 2)]
    assert found.isa == {"asimd"}
    cpu = as_detected(plain, found).processor("cpu")
    assert "int8" in cpu.runs
    assert cpu.thread_counts == (6, 3, 1)
    # No one name fits both kinds: the file's stays.
    assert dict(cpu.tvm_target)["mcpu"] == dict(plain.processor("cpu").tvm_target)["mcpu"]


def test_hyper_threads_of_a_core_count_once(tmp_path):
    found = machine(tmp_path, intel(0, 0) + intel(1, 1) + intel(2, 0) + intel(3, 1))
    assert found.cores == (Cores(name="Some Xeon", count=2, isa=("sse4_2", "avx", "fma", "avx2")),)


def test_processors_that_may_not_be_used_do_not_count():
    assert read_machine(RECORDED / "cortex-a55", frozenset({1, 3})).cores[0].count == 2


def test_an_unknown_core_is_named_by_its_numbers(tmp_path):
    assert machine(tmp_path, arm(0, "0xfff")).cores[0].name == "Arm core 0x41/0xfff"


@pytest.mark.parametrize("cpuinfo", [None, "", "\n\n", "processor\n", "processor : x\nflags : avx2\n", "\x00\xff"])
def test_reading_never_fails(tmp_path, cpuinfo, plain):
    if cpuinfo is not None:
        (tmp_path / "cpuinfo").write_text(cpuinfo, encoding="utf-8")
    found = read_machine(tmp_path)
    (cores,) = found.cores
    assert cores.count is not None
    assert cores.count >= 1
    assert not found.isa
    # Precisions stay as the file has them.
    cpu = as_detected(plain, found).processor("cpu")
    assert (cpu.fast, cpu.runs) == (plain.processor("cpu").fast, plain.processor("cpu").runs)
    assert cpu.threads == cores.count


def test_a_system_that_tells_nothing_is_described_by_the_file(tmp_path, monkeypatch, plain):
    monkeypatch.delattr(os, "sysconf", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    found = read_machine(tmp_path)
    assert (found.memory_bytes, found.cores[0].count) == (None, None)
    target = as_detected(plain, found)
    assert target.memory_bytes is None
    assert target.processor("cpu").thread_counts == (1,)


def test_memory_in_other_units_is_not_guessed(tmp_path, monkeypatch):
    (tmp_path / "meminfo").write_text("MemTotal: many kB\n", encoding="utf-8")
    monkeypatch.delattr(os, "sysconf", raising=False)
    assert read_machine(tmp_path).memory_bytes is None


def test_the_target_host_is_this_machine():
    target = load_target("host")
    cpu = target.processor("cpu")
    here = read_machine()
    assert cpu.cores == here.cores
    assert target.memory_bytes == here.memory_bytes
    assert cpu.cross_compiler is None
    assert "mtriple" not in dict(cpu.tvm_target)
    assert ("int8" in cpu.fast) == (target.artifacts[0][0] == "int8")
