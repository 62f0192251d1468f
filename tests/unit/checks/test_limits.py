from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.checks import Known, Limit, Question, check, exit_code, verdict_of
from edgekd.checks.limits import compare
from edgekd.checks.quantities import QUANTITIES, parse_count, parse_opset
from edgekd.errors import InputError
from edgekd.records import Metric

Make = Callable[..., Path]


@pytest.mark.parametrize(
    ("quantity", "kept", "broken"),
    [
        ("size_bytes", 1000, 999),
        ("parameters", 50_000, 49_999),
        ("macs", 1_000_000, 999_999),
        ("latency_us", 2000.0, 1999.0),
        ("energy_uj", 7000.0, 6999.0),
        ("memory_bytes", 3000, 2999),
        ("accuracy", 0.9, 0.901),
    ],
)
def test_each_quantity_of_a_run_passes_at_its_bound_and_fails_beyond_it(
    make_run: Make, quantity: str, kept: float, broken: float
) -> None:
    run = make_run()
    for limit, verdict in ((kept, "PASS"), (broken, "FAIL")):
        checked = check([run], Question(limits=(Limit(quantity=quantity, limit=limit),)))
        assert verdict_of(checked.findings) == verdict
        (comparison,) = checked.comparisons
        assert (comparison.limit, comparison.status) == (limit, verdict.lower())
        assert comparison.actual == kept


def test_a_finding_says_where_its_budget_was_written(make_run: Make) -> None:
    limit = Limit(quantity="macs", limit=1000, origin="edgekd.toml, check.max_macs")
    (finding,) = check([make_run()], Question(limits=(limit,))).findings
    assert finding.code == "macs-over-budget"
    assert finding.message == "the MACs of 1 M are more than the budget of 1 k (edgekd.toml, check.max_macs)"


def test_a_bound_for_some_files_takes_the_place_of_the_general_one(make_run: Make) -> None:
    run = make_run()
    general = Limit(quantity="size_bytes", limit=1)
    special = Limit(quantity="size_bytes", limit=1000, files="*.int8.onnx")
    assert verdict_of(check([run], Question(limits=(general, special))).findings) == "PASS"
    other = Limit(quantity="size_bytes", limit=1000, files="*.fp16.onnx")
    assert verdict_of(check([run], Question(limits=(general, other))).findings) == "FAIL"


@pytest.mark.parametrize(
    ("low", "high", "limit", "verdict"),
    [(90.0, 110.0, 111.0, "PASS"), (90.0, 110.0, 89.0, "FAIL"), (90.0, 110.0, 105.0, "INCONCLUSIVE")],
)
def test_a_bound_inside_the_spread_of_a_measurement_is_neither_kept_nor_broken(
    make_run: Make, low: float, high: float, limit: float, verdict: str
) -> None:
    run = make_run()
    path = run / "artifacts" / "model.int8.onnx"
    measured = Known(value=100.0, low=low, high=high, how="measured")
    question = Question(limits=(Limit(quantity="latency_us", limit=limit),), measured={path: measured})
    checked = check([run], question)
    assert verdict_of(checked.findings) == verdict
    assert checked.comparisons[0].actual == 100.0  # not what the report predicts
    if verdict == "INCONCLUSIVE":
        assert checked.findings[0].code == "latency-inconclusive"
        assert "inside the spread of the latency, 90 us to 110 us" in checked.findings[0].message


def test_a_metric_that_is_better_when_it_is_lower_is_no_accuracy(make_run: Make) -> None:
    error = Metric(value=0.1, samples=100, split="test", name="rmse", higher_is_better=False, unit="number")
    findings = check([make_run(accuracy=error)], Question(limits=(Limit(quantity="accuracy", limit=0.5),))).findings
    assert [finding.code for finding in findings if finding.level == "error"] == ["accuracy-not-known"]
    assert exit_code(findings) == 2


def test_a_lone_file_of_a_run_is_known_by_the_report_of_the_run(make_run: Make) -> None:
    run = make_run()
    limits = (Limit(quantity="latency_us", limit=2000.0), Limit(quantity="accuracy", limit=0.9))
    (finding,) = check([run / "artifacts" / "model.int8.onnx"], Question(limits=limits)).findings
    assert finding.message == "matches its card, within its latency budget, within its accuracy budget"


@given(
    value=st.floats(1, 1e9),
    limit=st.floats(1, 1e9),
    quantity=st.sampled_from(sorted(QUANTITIES)),
)
def test_a_value_breaks_a_bound_exactly_if_it_lies_on_the_wrong_side(value: float, limit: float, quantity: str) -> None:
    comparison, findings = compare("x", Limit(quantity=quantity, limit=limit), Known(value=value))
    is_kept = value <= limit if QUANTITIES[quantity].lower_is_better else value >= limit
    assert (comparison.status == "pass") == is_kept == (findings == [])


@pytest.mark.parametrize(("text", "count"), [("850k", 850e3), ("1.2M", 1.2e6), ("40000", 40e3), ("3 G", 3e9)])
def test_counts_are_read_with_their_prefix(text: str, count: float) -> None:
    assert parse_count(text, "--max-macs") == pytest.approx(count)


@pytest.mark.parametrize("text", ["", "0", "-5", "5 apples", "1e9", "0.5"])
def test_what_is_no_count_names_its_option(text: str) -> None:
    with pytest.raises(InputError, match="Write it like 850k") as caught:
        parse_count(text, "--max-macs")
    assert caught.value.where == "--max-macs"


@pytest.mark.parametrize("text", ["", "0", "17.5", "1000", "latest"])
def test_what_is_no_operator_set_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="Write it like 17"):
        parse_opset(text, "--max-opset")
