"""Regressions against the report of an earlier run.

A value counts as worse only if it is worse by more than a relative and by more than an absolute tolerance. What was
found for another device, by another cost model or for another task is said so and not compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgekd.checks.findings import error_finding, finding_of, warning_finding
from edgekd.checks.limits import Comparison
from edgekd.checks.quantities import QUANTITIES, Known
from edgekd.errors import ArtifactError
from edgekd.records import Artifact, Finding, Report, Row
from edgekd.report.document import read_report


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """By how much a value may be worse: a share of the baseline's, and an amount in the quantity's unit."""

    relative: float
    absolute: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The report to compare with."""

    where: str
    report: Report
    tolerances: Mapping[str, Tolerance]


def read_baseline(path: Path, tolerances: Mapping[str, Tolerance]) -> tuple[Baseline | None, list[Finding]]:
    """Return a run's report as a baseline, or what is wrong with it; the report of a failed run is none."""
    try:
        report = read_report(path)
    except ArtifactError as error:
        return None, [finding_of("bad-baseline", error)]
    if report.verdict == "fail":
        message = "the verdict of the baseline is fail, so nothing is compared with it"
        return None, [error_finding("baseline-failed", str(path), message, "Give the report of a run that passed.")]
    return Baseline(where=str(path), report=report, tolerances=tolerances), []


def check_target(subject: str, target: str, baseline: Baseline) -> list[Finding]:
    """Return an error if a run is for another device than the baseline."""
    if target == baseline.report.target:
        return []
    message = f"it is for {target}, the baseline for {baseline.report.target}: not compared"
    hint = "Give the report of a run for the same target."
    return [error_finding("baseline-other-device", subject, message, hint)]


def row_of(path: Path, card: Artifact | None, row: Row | None, baseline: Baseline) -> Row | None:
    """Return the baseline's row for a file: that of the same place in its run or, of a lone file, the same name."""
    rows = baseline.report.rows
    place = row.path if row else card.path if card else None
    if place is not None:
        return next((known for known in rows if known.path == place), None)
    named = [known for known in rows if PurePosixPath(known.path).name == path.name]
    return named[0] if len(named) == 1 else None


def compare_with_baseline(
    subject: str, known: Mapping[str, Known], before: Row, baseline: Baseline
) -> tuple[list[Comparison], list[Finding]]:
    """Return every quantity that both know, with an error for each that became worse."""
    comparisons: list[Comparison] = []
    findings: list[Finding] = []
    for quantity, about in QUANTITIES.items():
        now, then = known.get(quantity), about.of_row(before)
        if now is None or then is None:
            continue
        if (now.how.partition(" ")[0], now.source) != (then.how.partition(" ")[0], then.source):
            message = f"its {about.word} is {_origin(now)}, that of the baseline {_origin(then)}: not compared"
            hint = "Make the baseline again with this version, for the same device, runtime and task."
            findings.append(warning_finding("baseline-other-source", subject, message, hint))
            continue
        comparison = _compare(subject, quantity, now, then, baseline)
        comparisons.append(comparison)
        if comparison.status == "fail":
            message = (
                f"the {about.word} went from {about.show(then.value)} to {about.show(now.value)}, "
                f"{_change(now.value, then.value)}; at most {about.show(comparison.limit)} was allowed"
                if about.lower_is_better
                else f"the {about.word} went from {about.show(then.value)} to {about.show(now.value)}; "
                f"at least {about.show(comparison.limit)} was asked for"
            )
            hint = "Undo what made it worse, raise --tolerance, or take this run as the new baseline."
            findings.append(error_finding(f"{about.code}-regression", subject, message, hint))
    return comparisons, findings


def _compare(subject: str, quantity: str, now: Known, then: Known, baseline: Baseline) -> Comparison:
    about = QUANTITIES[quantity]
    tolerance = baseline.tolerances.get(quantity, Tolerance(relative=about.noise[0], absolute=about.noise[1]))
    allowed = max(tolerance.absolute, tolerance.relative * then.value)
    sign = 1 if about.lower_is_better else -1
    is_worse = sign * (now.value - then.value) > allowed
    return Comparison(
        subject=subject,
        quantity=quantity,
        actual=now.value,
        limit=then.value + sign * allowed,
        status="fail" if is_worse else "pass",
        how=now.how,
        origin=baseline.where,
        baseline=then.value,
    )


def _origin(known: Known) -> str:
    return " by ".join(filter(None, (known.how or "known", known.source)))


def _change(now: float, then: float) -> str:
    return f"{100 * (now - then) / then:+.1f} %" if then else "from nothing"
