from __future__ import annotations

import pytest

from edgekd.errors import BudgetError, ParityError, VerdictError
from edgekd.pipeline import _raise_verdict
from edgekd.records import Finding, Report


def report(*findings: Finding) -> Report:
    return Report(
        title="a run",
        verdict="fail" if findings else "pass",
        target="rpi4",
        plan_id="0123456789ab",
        rows=(),
        stages=(),
        budgets=(),
        findings=findings,
        widths=(),
        provenance=(),
    )


def finding(code: str, level: str = "error") -> Finding:
    return Finding(
        level="error" if level == "error" else "warning",
        code=code,
        subject="artifacts/model.int8.onnx",
        message=f"it has {code}",
        hint="Do so.",
    )


def test_a_report_without_errors_raises_nothing() -> None:
    _raise_verdict(report())
    _raise_verdict(report(finding("size-over-budget", "warning")))


@pytest.mark.parametrize(
    ("codes", "kind"),
    [
        (("size-over-budget",), BudgetError),
        (("parity-failed",), ParityError),
        (("size-over-budget", "parity-failed"), ParityError),
    ],
    ids=["budget", "parity", "both"],
)
def test_errors_of_a_report_end_the_run_with_1_and_name_every_one(
    codes: tuple[str, ...], kind: type[VerdictError]
) -> None:
    with pytest.raises((BudgetError, ParityError)) as caught:
        _raise_verdict(report(*map(finding, codes)))
    assert type(caught.value) is kind
    assert caught.value.exit_code == 1
    assert caught.value.where == "artifacts/model.int8.onnx"
    assert caught.value.found == "; ".join(f"it has {code}" for code in codes)
    assert caught.value.hint.endswith("Do so.")
