"""`edgekd targets list`, `show` and `validate`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekd.cli.app import run

ROOT = Path(__file__).resolve().parents[2]


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["targets", *arguments]) == 0
    return capsys.readouterr().out


def test_the_list_says_what_is_deployed_and_how_much_is_predicted(capsys: pytest.CaptureFixture[str]) -> None:
    lines = {line.split()[0]: line for line in shown(capsys, "list").splitlines()}
    tables = len(list((ROOT / "profiles" / "jetson-tx2").glob("*.toml")))
    assert lines["jetson-tx2"].endswith(f"fp16 for the gpu  {tables} tables")
    assert lines["generic-armv8.0"].endswith("fp32 for the cpu  no table")
    entries = {entry["name"]: entry for entry in json.loads(shown(capsys, "list", "--json"))}
    assert entries["jetson-tx2"] == {
        "name": "jetson-tx2",
        "title": "NVIDIA Jetson TX2",
        "deploys": ["fp16", "gpu"],
        "profiles": tables,
    }


def test_a_target_is_shown_with_what_it_cannot_do_and_what_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "show", "jetson-nano")
    cpu, gpu = text[text.index("\ncpu: ") :].split("\ngpu: ")
    assert "  cores: 4 x Cortex-A57 (asimd)\n" in cpu
    assert "  threads: 4 (also 1, 2)\n" in cpu
    assert "  gains from: fp16, fp32\n  executes: none\n  does not run: int8\n" in gpu
    assert "  compute capability: 5.3\n" in gpu
    assert "  runtime: TensorRT (also ONNX Runtime TensorRT" in gpu
    assert "  least time of an operator: not known\n" in gpu
    assert "source of processors.gpu.compute_capability: NVIDIA, " in gpu
    assert "memory: 4.29 GB\n" in text


def test_an_unknown_memory_is_not_zero(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "show", "x86-64-vnni")
    assert "memory: not known\n" in text
    assert "x86-64 core with AVX-512 VNNI, any number (" in text
    assert json.loads(shown(capsys, "show", "x86-64-vnni", "--json"))["memory_bytes"] is None


def test_a_valid_file_of_ones_own_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "targets" / "rpi4.toml").read_text(encoding="utf-8")
    path = tmp_path / "my-board.toml"
    path.write_text(text.replace('name = "rpi4"', 'name = "my-board"'), encoding="utf-8")
    other = ROOT / "targets" / "rpi5.toml"
    assert shown(capsys, "validate", str(path), str(other)) == (
        f"{path}: a valid target, Raspberry Pi 4 Model B\n{other}: a valid target, Raspberry Pi 5\n"
    )
    entries = json.loads(shown(capsys, "validate", str(path), "--json"))
    assert entries == [{"file": str(path), "name": "my-board", "title": "Raspberry Pi 4 Model B"}]
    assert "Raspberry Pi 4" in shown(capsys, "show", str(path))


def test_a_fact_without_a_source_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "targets" / "rpi4.toml").read_text(encoding="utf-8")
    path = tmp_path / "rpi4.toml"
    path.write_text(text.replace('["memory_bytes"]', '["artifacts"]'), encoding="utf-8")
    assert run(["targets", "validate", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: {path}, key 'memory_bytes'\n")
    assert "a source that names it" in captured.err


def test_a_file_is_a_path_even_without_a_suffix(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["targets", "validate", "rpi4"]) == 2
    assert "a file that can be read" in capsys.readouterr().err
