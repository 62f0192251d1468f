from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekd.checks import Question, check, verdict_of
from edgekd.checks.baseline import Tolerance
from edgekd.records import Finding, Metric, Prediction

Make = Callable[..., Path]


def _prediction(value: float, source: str = "a fit") -> Prediction:
    return Prediction(value=value, low=value / 2, high=value * 2, origin="fitted", source=source)


def _codes(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.code for finding in findings]


@pytest.mark.parametrize(
    ("latency_us", "verdict"),
    [
        (2000.0 + 100.0, "PASS"),  # exactly 5 %
        (2000.0 + 101.0, "FAIL"),
        (1000.0, "PASS"),
    ],
)
def test_a_value_has_to_be_worse_by_more_than_the_relative_tolerance(
    make_run: Make, latency_us: float, verdict: str
) -> None:
    baseline = make_run("before")
    question = Question(baseline=baseline, tolerances={"latency_us": Tolerance(relative=0.05, absolute=1.0)})
    checked = check([make_run(latency_us=_prediction(latency_us))], question)
    assert verdict_of(checked.findings) == verdict
    assert (_codes(checked.findings) == ["latency-regression"]) == (verdict == "FAIL")


def test_a_value_has_to_be_worse_by_more_than_the_absolute_tolerance_too(make_run: Make) -> None:
    baseline, run = make_run("before"), make_run(latency_us=_prediction(2400.0))
    for absolute, verdict in ((400.0, "PASS"), (399.0, "FAIL")):
        tolerances = {"latency_us": Tolerance(relative=0.05, absolute=absolute)}
        assert verdict_of(check([run], Question(baseline=baseline, tolerances=tolerances)).findings) == verdict


def test_accuracy_becomes_worse_downwards(make_run: Make) -> None:
    baseline = make_run("before")
    worse = make_run("worse", accuracy=Metric(value=0.88, samples=1000, split="test"))
    better = make_run("better", accuracy=Metric(value=0.99, samples=1000, split="test"))
    assert "accuracy-regression" in _codes(check([worse], Question(baseline=baseline)).findings)
    assert verdict_of(check([better], Question(baseline=baseline)).findings) == "PASS"


def test_a_larger_peak_of_the_activations_is_a_regression(make_run: Make) -> None:
    checked = check([make_run(memory_bytes=4001)], Question(baseline=make_run("before", memory_bytes=3000)))
    assert _codes(checked.findings) == ["memory-regression"]
    assert (
        "the peak activation memory went from 3 KB (3,000 bytes) to 4 KB (4,001 bytes)" in checked.findings[0].message
    )
    within = check([make_run("kept", memory_bytes=4000)], Question(baseline=make_run("again", memory_bytes=3000)))
    assert verdict_of(within.findings) == "PASS"


def test_every_quantity_that_both_know_is_compared(make_run: Make) -> None:
    comparisons = check([make_run()], Question(baseline=make_run("before"))).comparisons
    assert [comparison.quantity for comparison in comparisons] == [
        "size_bytes",
        "parameters",
        "macs",
        "latency_us",
        "energy_uj",
        "memory_bytes",
        "accuracy",
    ]
    assert all(comparison.baseline == comparison.actual for comparison in comparisons)


def test_a_baseline_for_another_device_is_said_so_and_not_compared(make_run: Make) -> None:
    checked = check([make_run(size_bytes=9000)], Question(baseline=make_run("before", target="jetson-tx2")))
    assert _codes(checked.findings) == ["baseline-other-device", "ok"]
    assert "for rpi4, the baseline for jetson-tx2" in checked.findings[0].message
    assert checked.comparisons == ()
    assert verdict_of(checked.findings) == "INCONCLUSIVE"


def test_predictions_of_another_runtime_are_said_so_and_not_compared(make_run: Make) -> None:
    baseline = make_run("before", latency_us=_prediction(1.0, source="rpi4, ncnn"))
    checked = check([make_run()], Question(baseline=baseline))
    assert _codes(checked.findings) == ["ok", "baseline-other-source"]
    assert "latency_us" not in {comparison.quantity for comparison in checked.comparisons}


def test_metrics_of_different_tasks_are_not_compared(make_run: Make) -> None:
    other = Metric(value=0.99, samples=1000, split="test", name="mean intersection over union", standard_error=0.01)
    checked = check([make_run()], Question(baseline=make_run("before", accuracy=other)))
    assert _codes(checked.findings) == ["ok", "baseline-other-source"]


def test_the_report_of_a_failed_run_is_refused_as_a_baseline(make_run: Make) -> None:
    checked = check([make_run()], Question(baseline=make_run("before", verdict="fail")))
    assert _codes(checked.findings) == ["baseline-failed", "ok"]
    assert verdict_of(checked.findings) == "INCONCLUSIVE"


@pytest.mark.parametrize("content", ["{", '{"schema_version": 99}', "[]"])
def test_a_baseline_of_another_schema_is_a_finding(make_run: Make, tmp_path: Path, content: str) -> None:
    (tmp_path / "old.json").write_text(content)
    checked = check([make_run()], Question(baseline=tmp_path / "old.json"))
    assert _codes(checked.findings) == ["bad-baseline", "ok"]
    assert verdict_of(checked.findings) == "INCONCLUSIVE"


def test_a_baseline_of_a_run_that_did_not_finish_says_what_is_missing(make_run: Make, tmp_path: Path) -> None:
    (tmp_path / "unfinished" / "student").mkdir(parents=True)
    (finding, _) = check([make_run()], Question(baseline=tmp_path / "unfinished")).findings
    assert "a run without one (it has student)" in finding.message


def test_an_artifact_that_the_baseline_does_not_know_is_a_warning(make_run: Make) -> None:
    baseline = make_run("before", path="artifacts/other.onnx")
    assert _codes(check([make_run()], Question(baseline=baseline)).findings) == ["ok", "baseline-lacks-it"]


def test_a_lone_file_is_compared_with_the_row_of_its_name(make_run: Make, tmp_path: Path) -> None:
    baseline = make_run("before") / "report" / "report.json"
    assert json.loads(baseline.read_text())["rows"][0]["size_bytes"] == 1000
    path = tmp_path / "model.int8.onnx"
    path.write_bytes(bytes(2001))  # 1000 bytes and 1 % of them are tolerated
    checked = check([path], Question(baseline=baseline))
    assert _codes(checked.findings) == ["size-regression"]
    assert "from 1 KB (1,000 bytes) to 2 KB (2,001 bytes), +100.1 %" in checked.findings[0].message
