from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest

from edgekd.cli.app import run

VERDICT = "PASS: 1 artifact in order, 0 errors, 0 values compared"


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"x" * 200_000)
    return path


@pytest.mark.parametrize(
    ("limit", "code"),
    [("200KB", 0), ("0.2MB", 0), ("196KiB", 0), ("195KiB", 1), ("199999", 1), ("199.9kb", 1)],
)
def test_the_real_size_of_a_file_decides_the_exit_code(artifact: Path, limit: str, code: int) -> None:
    # 196 KiB are 200,704 bytes, 195 KiB are 199,680.
    assert run(["check", str(artifact), "--max-size", limit]) == code


def test_a_file_that_is_missing_exits_with_2(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(artifact), str(artifact) + ".gone", "--max-size", "1B"]) == 2
    out = capsys.readouterr().out
    assert "error size-over-budget" in out
    assert "error missing-file" in out


def test_findings_go_to_stdout_and_nothing_to_stderr(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(artifact)]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"ok: {artifact}: readable (no card beside it)\n{VERDICT}\n"
    assert captured.err == ""


@pytest.mark.parametrize("option", [["--json"], ["--format", "json"], ["--format", "text", "--json"]])
def test_json_is_exactly_one_document(artifact: Path, capsys: pytest.CaptureFixture[str], option: list[str]) -> None:
    assert run(["check", str(artifact), "--max-size", "100KB", "--max-latency", "3ms", *option]) == 2
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert captured.err == ""
    assert document["exit_code"] == 2
    assert document["schema_version"] == 1
    assert [finding["code"] for finding in document["findings"]] == ["size-over-budget", "latency-not-known"]
    assert {finding["subject"] for finding in document["findings"]} == {str(artifact)}


@pytest.mark.parametrize("option", ["--max-size", "--max-latency", "--max-energy", "--max-memory"])
def test_a_bad_budget_names_its_option_before_anything_is_checked(
    artifact: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    assert run(["check", str(artifact), option, "5 apples"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: {option}\n")
    assert "'5 apples'" in captured.err
    assert "Write it like" in captured.err


@pytest.mark.parametrize("text", ["0", "0KB", "3ms", "-2KB", "2 MJ"])
def test_a_memory_budget_is_a_size_above_zero(artifact: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert run(["check", str(artifact), "--max-memory", text]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: --max-memory\n  expected: a size above zero with its unit\n")
    assert repr(text) in captured.err


def test_without_a_path_it_explains_its_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check"]) == 2
    assert "Usage: edgekd check" in capsys.readouterr().err


def test_a_hostile_file_name_does_not_reach_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "model\x1b[31m\nok: fake.onnx"
    assert run(["check", str(tmp_path / name)]) == 2
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert r"model\x1b[31m ok: fake.onnx" in out
    assert not any(line.startswith("ok:") for line in out.splitlines())


@pytest.mark.parametrize(("limit", "code"), [("200KB", 0), ("199KB", 1), ("apples", 2)])
def test_the_program_itself_exits_with_the_code(artifact: Path, limit: str, code: int) -> None:
    program = [sys.executable, "-W", "error", "-c", "from edgekd.cli.app import main; main()"]
    ended = subprocess.run([*program, "check", str(artifact), "--max-size", limit], check=False)
    assert ended.returncode == code


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A matrix product of 64 x 64 weights, which onnxruntime runs in microseconds."""
    weight = onnx.numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    shapes = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 64]) for name in ("x", "y")]
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph([node], "g", shapes[:1], shapes[1:], [weight])
    path = tmp_path / "network.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--max-parameters", "4096"], 0),
        (["--max-parameters", "4095"], 1),
        (["--max-opset", "17"], 0),
        (["--max-opset", "16"], 1),
        (["--target", "rpi4"], 0),
        (["--max-macs", "1k"], 2),
        (["--min-accuracy", "90%"], 2),
    ],
)
def test_an_onnx_file_is_known_by_what_stands_in_it(network: Path, arguments: list[str], code: int) -> None:
    assert run(["check", str(network), *arguments]) == code


def test_an_operator_that_the_target_s_runtime_does_not_have_fails(
    network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load(network)
    model.graph.node[0].domain = "acme"
    model.opset_import.append(onnx.helper.make_opsetid("acme", 1))
    onnx.save(model, network)
    assert run(["check", str(network), "--target", "rpi4"]) == 1
    assert "acme.MatMul (1 node) is not among the operators of ONNX Runtime" in capsys.readouterr().out


@pytest.fixture
def repository(tmp_path: Path, artifact: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose edgekd.toml allows 100 KB, with a folder in it that is worked in."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "inner").mkdir()
    (tmp_path / "edgekd.toml").write_text('[check]\npaths = ["*.onnx"]\nmax_size = "100KB"\n')
    monkeypatch.chdir(tmp_path / "inner")
    return tmp_path


def test_budgets_and_paths_come_from_the_file_of_the_repository(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check"]) == 1
    out = capsys.readouterr().out
    assert f"{repository / 'model.onnx'}: the size of 200 KB (200,000 bytes) is more than the budget of 100 KB" in out
    assert "(edgekd.toml, check.max_size)" in out


def test_options_win_over_the_file_even_over_its_tables_for_some_artifacts(repository: Path) -> None:
    with (repository / "edgekd.toml").open("a") as stream:
        stream.write('[check.artifacts."model.*"]\nmax_size = "50KB"\n')
    assert run(["check"]) == 1
    assert run(["check", "--max-size", "200KB"]) == 0


def test_another_file_of_budgets_can_be_named(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "strict.toml").write_text("[check]\nmax_size = 1000\n")
    assert run(["check", str(artifact)]) == 0
    assert run(["check", str(artifact), "--config", str(tmp_path / "strict.toml")]) == 1
    assert run(["check", str(artifact), "--config", str(tmp_path / "gone.toml")]) == 2


def test_on_github_the_summary_is_appended_to_the_page_of_the_job(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "summary.md"
    page.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    assert run(["check", str(artifact), "--max-size", "1KB", "--format", "github"]) == 1
    assert capsys.readouterr().out.startswith(f"::error file={artifact},title=edgekd size-over-budget::")
    assert page.read_text().startswith("before\n## EdgeKD check: FAIL\n")
    assert "| fail |" in page.read_text()


def test_a_junit_file_is_written_beside_the_answer(artifact: Path, tmp_path: Path) -> None:
    place = tmp_path / "results" / "edgekd.xml"
    assert run(["check", str(artifact), "--junit", str(place), "--max-size", "1KB"]) == 1
    root = ElementTree.parse(place).getroot()  # noqa: S314  # made here
    assert root.get("failures") == "1"


@pytest.mark.parametrize("options", [["--junit", "model.onnx/x.xml"], ["--baseline", "gone"]])
def test_a_place_that_cannot_be_used_exits_with_2(
    artifact: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(artifact.parent)
    assert run(["check", str(artifact), *options]) == 2
    captured = capsys.readouterr()
    assert options[1].partition("/")[0] in captured.out + captured.err


@pytest.mark.parametrize(
    ("limit", "code", "words"),
    [("1us", 1, "the measured latency of"), ("1s", 0, "within its latency budget")],
)
def test_a_measured_latency_decides_the_exit_code(
    network: Path, limit: str, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # A call of onnxruntime takes more than a microsecond and 4096 products less than a second.
    assert run(["check", str(network), "--measure", "--max-latency", limit]) == code
    assert words in capsys.readouterr().out


def test_the_boards_of_a_tracker_do_not_run_onnxruntime(network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--measure", "--max-latency", "1s", "--on", "rpc://tracker:9190/rpi4"]
    assert run(["check", str(network), *arguments]) == 2
    assert "error: --on\n  expected: local, or ssh://user@host\n" in capsys.readouterr().err


def test_a_file_that_cannot_be_run_leaves_the_others_their_answer(
    artifact: Path, network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check", str(artifact), str(network), "--measure", "--max-latency", "1s", "--json"]) == 2
    findings = [(entry["code"], entry["subject"]) for entry in json.loads(capsys.readouterr().out)["findings"]]
    assert findings == [
        ("latency-not-known", str(artifact)),
        ("not-measured", str(artifact)),
        ("ok", str(network)),
    ]
