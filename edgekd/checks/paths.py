"""What is checked of artifact files and of the folders of runs."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from edgekd.checks.artifact import Checked, Item, Question, check_item
from edgekd.checks.baseline import Baseline, check_target, read_baseline
from edgekd.checks.cards import CARD_HINT, UNREADABLE, card_beside, has_mode, read_card
from edgekd.checks.findings import error_finding, finding_of
from edgekd.checks.limits import Limit, as_limit, effective
from edgekd.checks.quantities import QUANTITIES
from edgekd.errors import ArtifactError
from edgekd.records import Artifact, Budget, Finding, Precision, Report, Row
from edgekd.report.collect import is_compressed
from edgekd.report.document import read_report
from edgekd.store import RunFolder


def check_paths(paths: Sequence[Path], budgets: Sequence[Budget | Limit]) -> tuple[Finding, ...]:
    """Return everything there is to say about artifacts and runs under some budgets, in the order of the paths."""
    return check(paths, Question(limits=tuple(map(as_limit, budgets)))).findings


def check(paths: Sequence[Path], question: Question) -> Checked:
    """Return everything there is to say about artifacts and runs, in the order of the paths.

    A file is checked for being readable and not empty, against the card beside it if there is one, and against what
    is asked. A folder is taken for a run: its report's verdict, and every artifact that has a card or stands in the
    report. Latency, energy and memory are those that the report predicts, unless they were measured.
    """
    baseline: Baseline | None = None
    findings: list[Finding] = []
    if question.baseline is not None:
        baseline, findings = read_baseline(question.baseline, question.tolerances)
    checked = Checked(findings=tuple(findings))
    for path in paths:
        is_run = has_mode(path, stat.S_ISDIR)
        checked += _check_run(path, question, baseline) if is_run else _check_lone_file(path, question, baseline)
    return checked


def artifacts_of(paths: Sequence[Path], limits: tuple[Limit, ...], quantity: str) -> Iterator[Path]:
    """Yield the ONNX files among the paths and in runs that a limit on that quantity is for."""
    for path in paths:
        if not has_mode(path, stat.S_ISDIR):
            if path.suffix == ".onnx" and has_mode(path, stat.S_ISREG):
                yield path
            continue
        report, _ = _read_run_report(path)
        rows = {row.path: row for row in report.rows} if report else {}
        for card in _read_cards(path)[0]:
            bound = _bound(path, card, rows.get(card.path), limits, report)
            if card.path.endswith(".onnx") and any(limit.quantity == quantity for limit in bound):
                yield path / card.path


def _check_lone_file(path: Path, question: Question, baseline: Baseline | None) -> Checked:
    card, findings = card_beside(path)
    report, row = _run_of(path, card)
    if baseline is not None and card is not None:
        problems = check_target(str(path), report.target if report else card.target, baseline)
        findings, baseline = [*findings, *problems], None if problems else baseline
    limits = effective(question.limits, path)
    return check_item(Item(path=path, limits=limits, card=card, row=row, is_lone=True), question, baseline, findings)


def _run_of(path: Path, card: Artifact | None) -> tuple[Report | None, Row | None]:
    """Return the report of the run that a file still lies in, and the file's row in it."""
    if card is None or path.parts[-2:] != PurePosixPath(card.path).parts[-2:]:
        return None, None
    try:
        report = read_report(path.parent.parent)
    except ArtifactError:
        return None, None
    row = next((row for row in report.rows if row.path == card.path and row.size_bytes == card.size_bytes), None)
    return (report, row) if row else (None, None)


def _check_run(run: Path, question: Question, baseline: Baseline | None) -> Checked:
    report, findings = _read_run_report(run)
    cards, card_findings = _read_cards(run)
    findings += card_findings
    rows = {row.path: row for row in report.rows} if report else {}
    if baseline is not None and report is not None:
        problems = check_target(str(run), report.target, baseline)
        findings, baseline = [*findings, *problems], None if problems else baseline
    checked = Checked(findings=tuple(findings))
    answered: set[str] = set()
    for card in cards:
        row = rows.get(card.path)
        limits = _bound(run, card, row, question.limits, report)
        item = Item(path=run / card.path, limits=limits, card=card, row=row, is_lone=False)
        found = _check_run_artifact(run, item, question, baseline)
        # A file that is damaged was looked at all the same.
        answered |= {"size_bytes"} & {limit.quantity for limit in limits}
        answered |= {it.quantity for it in found.comparisons if it.actual is not None and it.baseline is None}
        checked += found
    checked += Checked(findings=tuple(_missing_cards(run, cards, rows)))
    return checked + Checked(findings=tuple(_unanswered(run, question.limits, answered) if cards else ()))


def _bound(
    run: Path, card: Artifact, row: Row | None, limits: tuple[Limit, ...], report: Report | None
) -> tuple[Limit, ...]:
    """Return the limits for one artifact of a run.

    A limit that names no files is for the precision that the run's own budget on that quantity is for, and not for the
    baselines of the run.
    """
    own: dict[str, Precision | None] = (
        {budget.quantity: budget.precision for budget in report.budgets} if report else {}
    )
    meant = (replace(it, precision=own.get(it.quantity, it.precision)) if it.files is None else it for it in limits)
    return effective(tuple(limit for limit in meant if _binds(limit, card, row)), run / card.path)


def _binds(limit: Limit, card: Artifact, row: Row | None) -> bool:
    if limit.files is not None:
        return True
    # Of a file the report does not know, nothing says that it may be larger.
    return (row is None or is_compressed(row)) and limit.precision in (None, row.precision if row else card.precision)


def _unanswered(run: Path, limits: tuple[Limit, ...], answered: set[str]) -> Iterator[Finding]:
    """Yield an error for each quantity with a limit that no number of the run was compared with."""
    for quantity in dict.fromkeys(limit.quantity for limit in limits if limit.files is None):
        if quantity not in answered:
            about = QUANTITIES[quantity]
            message = f"there is no artifact whose {about.word} is known and that the {about.word} budget is for"
            hint = "Leave that budget out, or compress for a target with a profile of it."
            yield error_finding(f"{about.code}-not-known", str(run), message, hint)


def _missing_cards(run: Path, cards: list[Artifact], rows: dict[str, Row]) -> Iterator[Finding]:
    listed = {card.path for card in cards}
    for path in rows:
        if PurePosixPath(path).parts[:1] == ("artifacts",) and path not in listed:
            message = "the report lists it, but it has no card"
            yield error_finding("missing-card", str(run / path), message, CARD_HINT)


def _read_run_report(run: Path) -> tuple[Report | None, list[Finding]]:
    try:
        report = read_report(run)
    except ArtifactError as error:
        return None, [finding_of("bad-report", error)]
    if report.verdict == "pass":
        return report, []
    message = "the verdict of the run is fail"
    return report, [error_finding("verdict-fail", str(run), message, f"Read it with `edgekd report {run}`.")]


def _read_cards(run: Path) -> tuple[list[Artifact], list[Finding]]:
    cards: list[Artifact] = []
    findings: list[Finding] = []
    paths = sorted(RunFolder(run).artifacts.glob("*.json"))
    for path in paths:
        try:
            card = read_card(path)
        except ArtifactError as error:
            findings.append(finding_of("bad-card", error))
            continue
        if card is None:
            findings.append(error_finding("bad-card", str(path), "this is no card of an artifact", CARD_HINT))
        else:
            cards.append(card)
    if not paths:
        hint = "Give the folder that `edgekd compress --run` wrote."
        findings.append(error_finding("no-artifacts", str(run), "no card of an artifact in artifacts/", hint))
    return cards, findings


def _check_run_artifact(run: Path, item: Item, question: Question, baseline: Baseline | None) -> Checked:
    try:
        is_inside = item.path.resolve().is_relative_to(run.resolve())
    except UNREADABLE:
        is_inside = False
    if not is_inside:
        message = "the card points outside the run folder"
        return Checked(findings=(error_finding("path-outside-run", item.subject, message, CARD_HINT),))
    return check_item(item, question, baseline, [])
