from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path

import pytest

from edgekd.checks import check_paths, exit_code
from edgekd.records import Artifact, Budget, Finding, Level, Prediction, Report, Row
from edgekd.report import report_to_json

BYTES = bytes(range(200)) * 5
SIZE_BYTES = 200 * 5
LATENCY_US = 2000.0
ENERGY_UJ = 7000.0
MEMORY_BYTES = 3000


def _size(limit: float) -> Budget:
    return Budget(quantity="size_bytes", limit=limit)


def _card(path: str) -> Artifact:
    return Artifact(
        path=path,
        backend="onnx",
        precision="int8",
        processor="cpu",
        target="jetson-tx2",
        plan_id="0123456789ab",
        sha256=hashlib.sha256(BYTES).hexdigest(),
        size_bytes=SIZE_BYTES,
        input_shape=(1, 3, 32, 32),
        toolchain="onnx 1.18",
    )


def _row(path: str) -> Row:
    def prediction(value: float) -> Prediction:
        return Prediction(value=value, low=value / 2, high=value * 2, origin="fitted", source="a fit")

    return Row(
        name="compressed int8",
        path=path,
        precision="int8",
        processor="cpu",
        size_bytes=SIZE_BYTES,
        macs=1,
        parameters=1,
        accuracy=None,
        trained_accuracy=None,
        latency_us=prediction(LATENCY_US),
        energy_uj=prediction(ENERGY_UJ),
        parity=None,
        memory_bytes=MEMORY_BYTES,
    )


def _report(*rows: Row) -> Report:
    return Report(
        title="a run",
        verdict="pass",
        target="jetson-tx2",
        plan_id="0123456789ab",
        rows=rows,
        stages=(),
        budgets=(),
        findings=(),
        widths=(),
        provenance=(),
    )


def _write_card(path: Path, card: Artifact, **more: object) -> None:
    path.write_text(json.dumps(dataclasses.asdict(card) | more))


def _write_report(run: Path, report: Report) -> None:
    (run / "report").mkdir(exist_ok=True)
    (run / "report" / "report.json").write_text(report_to_json(report))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A good run with two artifacts, and an original that no budget is meant for."""
    run = tmp_path / "run"
    (run / "artifacts").mkdir(parents=True)
    rows = [dataclasses.replace(_row("model.pt2"), name="original", size_bytes=10**9)]
    for name in ("model.fp16", "model.int8"):
        (run / "artifacts" / f"{name}.onnx").write_bytes(BYTES)
        _write_card(run / "artifacts" / f"{name}.json", _card(f"artifacts/{name}.onnx"))
        rows.append(_row(f"artifacts/{name}.onnx"))
    _write_report(run, _report(*rows))
    return run


def _errors(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.code for finding in findings if finding.level == "error"]


def _codes(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.code for finding in findings]


@pytest.mark.parametrize(
    ("limit", "codes", "code"), [(SIZE_BYTES, ["ok"], 0), (SIZE_BYTES - 1, ["size-over-budget"], 1)]
)
def test_a_file_may_be_as_large_as_the_budget_and_no_larger(
    tmp_path: Path, limit: int, codes: list[str], code: int
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(BYTES)
    findings = check_paths([path], (_size(limit),))
    assert _codes(findings) == codes
    assert findings[0].subject == str(path)
    assert exit_code(findings) == code


def test_an_excess_is_told_in_exact_bytes(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"x" * 250_001)
    (finding,) = check_paths([path], (_size(250_000),))
    assert "250 KB (250,001 bytes)" in finding.message
    assert "250 KB (250,000 bytes)" in finding.message


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("missing.onnx", "missing-file"),
        ("empty.onnx", "empty-file"),
        ("pipe.onnx", "unreadable-file"),
        ("circle.onnx", "unreadable-file"),
        ("file/model.onnx", "unreadable-file"),
        ("n" * 5000, "unreadable-file"),
        ("nul\0.onnx", "unreadable-file"),
        ("nowhere.onnx", "missing-file"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_finding_and_code_2(tmp_path: Path, name: str, code: str) -> None:
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "circle.onnx").symlink_to(tmp_path / "circle.onnx")
    (tmp_path / "nowhere.onnx").symlink_to(tmp_path / "gone")
    findings = check_paths([tmp_path / name], (_size(10**9),))
    assert _codes(findings) == [code]
    assert exit_code(findings) == 2


def test_a_lone_file_is_compared_with_the_card_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "model.int8.onnx"
    path.write_bytes(BYTES)
    _write_card(tmp_path / "model.int8.json", _card("artifacts/model.int8.onnx"), parity={"passed": True})
    (finding,) = check_paths([path], ())
    assert finding.code == "ok"
    assert "matches its card" in finding.message

    path.write_bytes(BYTES[:-1] + b"\xff")
    assert _codes(check_paths([path], ())) == ["hash-mismatch"]
    path.write_bytes(BYTES[:-1])
    findings = check_paths([path], ())
    assert _codes(findings) == ["size-mismatch"]
    assert exit_code(findings) == 2


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "\ud800", '{"sha256": "0"}', '{"size_bytes": 1}'],
    ids=["cut", "list", "bytes", "half", "other half"],
)
def test_a_damaged_card_does_not_pass_for_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(BYTES)
    (tmp_path / "model.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    findings = check_paths([path], ())
    assert _codes(findings) == ["bad-card"]
    assert str(tmp_path / "model.json") in findings[0].subject
    assert exit_code(findings) == 2


def test_a_card_with_an_impossible_hash_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(BYTES)
    _write_card(tmp_path / "model.json", dataclasses.replace(_card("model.onnx"), sha256="abc"))
    assert _codes(check_paths([path], ())) == ["bad-card"]


def test_json_beside_a_file_that_is_no_card_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(BYTES)
    (tmp_path / "model.json").write_text('{"layers": []}')
    (finding,) = check_paths([path], ())
    assert finding.code == "ok"
    assert "no card" in finding.message


@pytest.mark.parametrize(
    ("quantity", "word"), [("latency_us", "latency"), ("energy_uj", "energy"), ("memory_bytes", "memory")]
)
def test_the_cost_of_a_lone_file_is_not_known(tmp_path: Path, quantity: str, word: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(BYTES)
    findings = check_paths([path], (Budget(quantity=quantity, limit=10**9),))  # type: ignore[arg-type]
    assert _codes(findings) == [f"{word}-not-known"]
    assert "not known for this file" in findings[0].message
    assert exit_code(findings) == 2


@pytest.mark.parametrize("ending", [".data", "_data"])
def test_weights_in_a_second_file_are_not_passed_over_in_silence(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(BYTES)
    (tmp_path / f"model.onnx{ending}").write_bytes(BYTES)
    findings = check_paths([path], (_size(SIZE_BYTES),))
    assert sorted(_codes(findings)) == ["external-data", "ok"]
    assert exit_code(findings) == 0


def test_a_good_run_has_one_note_for_each_artifact(run: Path) -> None:
    budgets = (
        _size(SIZE_BYTES),
        Budget(quantity="latency_us", limit=LATENCY_US),
        Budget(quantity="energy_uj", limit=ENERGY_UJ),
        Budget(quantity="memory_bytes", limit=MEMORY_BYTES),
    )
    findings = check_paths([run], budgets)
    assert [(finding.code, finding.subject) for finding in findings] == [
        ("ok", str(run / "artifacts" / "model.fp16.onnx")),
        ("ok", str(run / "artifacts" / "model.int8.onnx")),
    ]
    assert exit_code(findings) == 0


@pytest.mark.parametrize(
    ("budget", "code"),
    [
        (_size(SIZE_BYTES - 1), "size-over-budget"),
        (Budget(quantity="latency_us", limit=LATENCY_US - 1), "latency-over-budget"),
        (Budget(quantity="energy_uj", limit=ENERGY_UJ - 1), "energy-over-budget"),
        (Budget(quantity="memory_bytes", limit=MEMORY_BYTES - 1), "memory-over-budget"),
    ],
    ids=["size", "latency", "energy", "memory"],
)
def test_each_artifact_of_a_run_has_to_keep_each_budget(run: Path, budget: Budget, code: str) -> None:
    findings = check_paths([run], (budget,))
    assert _codes(findings) == [code, code]
    assert exit_code(findings) == 1
    if budget.quantity != "size_bytes":
        assert all("predicted" in finding.message for finding in findings)


def test_a_prediction_is_compared_by_its_value_not_by_the_end_of_its_interval(run: Path) -> None:
    # The interval of the sample reaches up to twice the value.
    assert exit_code(check_paths([run], (Budget(quantity="latency_us", limit=LATENCY_US),))) == 0


def test_an_extrapolated_prediction_is_a_warning(run: Path) -> None:
    row = _row("artifacts/model.int8.onnx")
    assert row.latency_us is not None
    guess = dataclasses.replace(row.latency_us, extrapolated=True)
    other = _row("artifacts/model.fp16.onnx")
    _write_report(run, _report(other, dataclasses.replace(row, latency_us=guess)))
    findings = check_paths([run], (Budget(quantity="latency_us", limit=LATENCY_US),))
    assert _codes(findings) == ["ok", "ok", "extrapolated"]
    assert exit_code(findings) == 0


def test_a_budget_on_what_is_predicted_of_no_artifact_is_not_kept(run: Path) -> None:
    row = dataclasses.replace(_row("artifacts/model.int8.onnx"), latency_us=None)
    _write_report(run, _report(row))
    findings = check_paths([run], (Budget(quantity="latency_us", limit=10**9),))
    # Of one artifact the report knows no latency, of the other it knows nothing.
    assert _errors(findings) == ["latency-not-known"]
    assert findings[-1].subject == str(run)
    assert exit_code(findings) == 2


def test_a_report_from_before_memory_was_counted_cannot_answer_a_memory_budget(run: Path) -> None:
    old = dataclasses.replace(_row("artifacts/model.int8.onnx"), memory_bytes=None)
    fields = json.loads(report_to_json(_report(old)))
    fields["schema_version"] = 2
    del fields["rows"][0]["memory_bytes"]
    (run / "report" / "report.json").write_text(json.dumps(fields))
    assert exit_code(check_paths([run], ())) == 0
    findings = check_paths([run], (Budget(quantity="memory_bytes", limit=10**9),))
    assert _errors(findings) == ["memory-not-known"]
    assert exit_code(findings) == 2


def test_a_budget_on_what_is_predicted_of_some_artifacts_warns_of_the_others(run: Path) -> None:
    row = dataclasses.replace(_row("artifacts/model.int8.onnx"), latency_us=None)
    _write_report(run, _report(row, _row("artifacts/model.fp16.onnx")))
    findings = check_paths([run], (Budget(quantity="latency_us", limit=LATENCY_US),))
    assert [(finding.level, finding.code) for finding in findings] == [
        ("note", "ok"),
        ("note", "ok"),
        ("warning", "latency-not-known"),
    ]
    assert "within its latency budget" in findings[0].message
    assert "latency" not in findings[1].message
    assert exit_code(findings) == 0


def _fp16_row() -> Row:
    return dataclasses.replace(_row("artifacts/model.fp16.onnx"), precision="fp16")


def test_a_budget_is_for_the_precision_that_the_runs_own_budget_is_for(run: Path) -> None:
    rows = (_row("artifacts/model.int8.onnx"), _fp16_row())
    tight = (_size(SIZE_BYTES - 1),)
    own = Budget(quantity="size_bytes", limit=1, precision="int8")
    _write_report(run, dataclasses.replace(_report(*rows), budgets=(own,)))
    findings = check_paths([run], tight)
    assert [(finding.code, Path(finding.subject).name) for finding in findings] == [
        ("ok", "model.fp16.onnx"),
        ("size-over-budget", "model.int8.onnx"),
    ]
    assert "budget" not in findings[0].message
    _write_report(run, _report(*rows))
    assert _codes(check_paths([run], tight)) == ["size-over-budget", "size-over-budget"]


def test_a_budget_that_is_for_no_artifact_of_the_run_is_not_kept(run: Path) -> None:
    own = Budget(quantity="size_bytes", limit=1, precision="fp32")
    _write_report(run, dataclasses.replace(_report(_fp16_row()), budgets=(own,)))
    findings = check_paths([run], (_size(10**9),))
    assert _errors(findings) == ["size-not-known"]
    assert exit_code(findings) == 2


def test_a_baseline_in_the_run_may_be_larger_than_the_budget(run: Path) -> None:
    original = dataclasses.replace(_row("artifacts/model.fp16.onnx"), name="original fp16")
    _write_report(run, _report(original, _row("artifacts/model.int8.onnx")))
    assert _errors(check_paths([run], (_size(SIZE_BYTES - 1),))) == ["size-over-budget"]


def test_a_failed_run_is_a_no_even_where_its_files_are_good(run: Path) -> None:
    report = _report(_row("artifacts/model.fp16.onnx"), _row("artifacts/model.int8.onnx"))
    _write_report(run, dataclasses.replace(report, verdict="fail"))
    findings = check_paths([run], ())
    assert _codes(findings) == ["verdict-fail", "ok", "ok"]
    assert exit_code(findings) == 1


def test_a_lost_artifact_is_found_by_its_card_and_a_lost_card_by_the_report(run: Path) -> None:
    (run / "artifacts" / "model.fp16.onnx").unlink()
    (run / "artifacts" / "model.int8.json").unlink()
    findings = check_paths([run], ())
    assert _codes(findings) == ["missing-file", "missing-card"]
    assert exit_code(findings) == 2


def test_a_card_and_a_report_that_disagree_are_a_finding(run: Path) -> None:
    row = dataclasses.replace(_row("artifacts/model.int8.onnx"), size_bytes=SIZE_BYTES + 1)
    _write_report(run, _report(row, _row("artifacts/model.fp16.onnx")))
    assert _errors(check_paths([run], ())) == ["size-mismatch"]


@pytest.mark.parametrize("path", ["../model.onnx", "/etc/hostname", "artifacts/link.onnx", "nul\0"])
def test_a_card_cannot_lead_out_of_its_run(run: Path, path: str) -> None:
    (run.parent / "model.onnx").write_bytes(BYTES)
    (run / "artifacts" / "link.onnx").symlink_to(run.parent / "model.onnx")
    _write_card(run / "artifacts" / "odd.json", _card(path))
    findings = check_paths([run], ())
    assert _errors(findings) == ["path-outside-run"]
    assert exit_code(findings) == 2


def test_every_problem_of_every_path_is_shown(run: Path, tmp_path: Path) -> None:
    (run / "report" / "report.json").write_text("{")
    (run / "artifacts" / "model.fp16.onnx").write_bytes(BYTES[::-1])
    (run / "artifacts" / "odd.json").write_text('{"neither": 1}')
    (run / "artifacts" / "cut.json").write_text('{"sha256"')
    large = tmp_path / "large.onnx"
    large.write_bytes(BYTES)
    findings = check_paths([run, tmp_path / "missing.onnx", large], (_size(SIZE_BYTES - 1),))
    assert _codes(findings) == [
        "bad-report",
        "bad-card",  # cut.json
        "bad-card",  # odd.json
        "hash-mismatch",  # model.fp16.onnx
        "size-over-budget",
        "size-over-budget",  # model.int8.onnx
        "missing-file",
        "size-over-budget",  # large.onnx
    ]
    assert all(finding.hint for finding in findings)
    # What is damaged outweighs what is too large.
    assert exit_code(findings) == 2


def test_a_folder_that_is_no_run_is_not_passed(tmp_path: Path) -> None:
    findings = check_paths([tmp_path], ())
    assert _codes(findings) == ["bad-report", "no-artifacts"]
    assert exit_code(findings) == 2


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        ([], 0),
        ([("note", "ok"), ("warning", "extrapolated")], 0),
        ([("warning", "size-over-budget")], 0),
        ([("error", "size-over-budget")], 1),
        ([("error", "verdict-fail"), ("error", "energy-over-budget"), ("note", "ok")], 1),
        ([("error", "hash-mismatch")], 2),
        ([("error", "size-over-budget"), ("error", "missing-file")], 2),
    ],
)
def test_the_exit_code_follows_from_the_errors(entries: list[tuple[Level, str]], code: int) -> None:
    findings = [Finding(level=level, code=name, subject="x", message="y") for level, name in entries]
    assert exit_code(findings) == code
