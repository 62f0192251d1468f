"""Bounds on what is known of a file, and the comparison of a value with a bound."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from edgekd.checks.findings import error_finding, warning_finding
from edgekd.checks.quantities import QUANTITIES, Known, Quantity
from edgekd.records import Budget, Finding, Precision
from edgekd.report.artifacts import EXTRAPOLATED

Status = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A bound on one quantity, with the place it was written in.

    Of a run, one without `files` is for the files that the run's own budget on that quantity is for; `files` is a
    pattern of paths, matched from the right, and names them instead.
    """

    quantity: str
    limit: float
    origin: str = ""
    files: str | None = None
    precision: Precision | None = None

    def __post_init__(self) -> None:
        if self.quantity not in QUANTITIES:
            raise ValueError(f"'{self.quantity}' is none of {', '.join(QUANTITIES)}")

    @property
    def about(self) -> Quantity:
        """What it bounds."""
        return QUANTITIES[self.quantity]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One value beside one bound: what a table of results has a line for. With a baseline, the bound is made of it."""

    subject: str
    quantity: str
    actual: float | None
    limit: float
    status: Status
    how: str = ""
    origin: str = ""
    baseline: float | None = None


def as_limit(bound: Limit | Budget) -> Limit:
    """Return a budget of a run as a limit; a limit as it is."""
    return bound if isinstance(bound, Limit) else Limit(quantity=bound.quantity, limit=bound.limit)


def effective(limits: tuple[Limit, ...], path: PurePath) -> tuple[Limit, ...]:
    """Return the limits for a file: of each quantity the last one whose pattern the file matches."""
    chosen = {it.quantity: it for it in limits if it.files is None or path.match(it.files)}
    return tuple(chosen.values())


def compare(subject: str, limit: Limit, known: Known) -> tuple[Comparison, list[Finding]]:
    """Return whether a value keeps a limit, with what there is to say about it."""
    about = limit.about
    is_over = known.value > limit.limit if about.lower_is_better else known.value < limit.limit
    status: Status = "fail" if is_over else "pass"
    if known.low is not None and known.high is not None and known.low <= limit.limit <= known.high:
        status = "inconclusive"
    stated, bound = _stated(about, known), about.show(limit.limit)
    relation, ending = ("more", "over") if about.lower_is_better else ("less", "under")
    verb = "are" if about.word.endswith("s") else "is"
    origin = f" ({limit.origin})" if limit.origin else ""
    findings = []
    if status == "fail":
        message = f"{stated} {verb} {relation} than the budget of {bound}{origin}"
        findings.append(error_finding(f"{about.code}-{ending}-budget", subject, message, about.advice))
    elif status == "inconclusive":
        assert known.low is not None
        assert known.high is not None
        spread = f"{about.show(known.low)} to {about.show(known.high)}"
        message = f"the budget of {bound}{origin} lies inside the spread of the {about.word}, {spread}"
        hint = "Measure on a quieter machine with pinned clocks, or leave more room."
        findings.append(error_finding(f"{about.code}-inconclusive", subject, message, hint))
    if known.is_extrapolated:
        message = f"{_stated(about, known)} is {EXTRAPOLATED}"
        findings.append(warning_finding("extrapolated", subject, message, "Measure the artifact on the device."))
    comparison = Comparison(
        subject=subject,
        quantity=limit.quantity,
        actual=known.value,
        limit=limit.limit,
        status=status,
        how=known.how,
        origin=limit.origin,
    )
    return comparison, findings


def _stated(about: Quantity, known: Known) -> str:
    """Return a value in words, for instance `the predicted latency of 2 ms (fitted)`."""
    how, parenthesis, detail = known.how.partition(" (")
    kind = f"{how} {about.word}" if how else about.word
    return f"the {kind} of {about.show(known.value)}{parenthesis}{detail}"


def unknown(subject: str, limit: Limit) -> Comparison:
    """Return the comparison of something that is not known."""
    return Comparison(
        subject=subject,
        quantity=limit.quantity,
        actual=None,
        limit=limit.limit,
        status="inconclusive",
        origin=limit.origin,
    )
