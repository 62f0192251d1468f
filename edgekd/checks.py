"""The gate for continuous integration: are the files there and whole, do they keep the budgets?

Looks at bytes, cards and the report only, and never loads a model, so that it runs anywhere and at once.
Nothing here raises for a bad file: every problem is a finding, and all of them are returned.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from edgekd.budgets import BOUNDED, format_quantity
from edgekd.errors import EXIT_OK, ArtifactError, InputError, VerdictError
from edgekd.records import Artifact, Budget, Finding, Report, Row
from edgekd.report.artifacts import EXTRAPOLATED
from edgekd.report.collect import actual_value, is_bound, prediction_of
from edgekd.report.decode import decode, field_names, read_object
from edgekd.report.document import read_report
from edgekd.store import RunFolder, file_digest

_ANSWERED_NO = frozenset({"verdict-fail", *(f"{kind.word}-over-budget" for kind in BOUNDED.values())})
_CARD_HINT = "Make the run again, or copy the card together with its artifact."
_SHA256 = re.compile(r"[0-9a-f]{64}")
# What reading a hostile path can raise: ValueError for a NUL in it, RuntimeError for links in a circle.
_UNREADABLE = (OSError, ValueError, RuntimeError)


def check_paths(paths: Sequence[Path], budgets: tuple[Budget, ...]) -> tuple[Finding, ...]:
    """Return everything there is to say about artifacts and runs, in the order of the paths.

    A file is checked for being readable and not empty, against the card beside it if there is one, and
    against the size budget. A folder is taken for a run: its report's verdict, every artifact that has a card
    or stands in the report, and the budgets. Latency, energy and memory are those that the report predicts. In a run
    a budget is for the files that the run's own budget on that quantity is for, and not for its baselines.

    Args:
        paths: Artifact files and run folders.
        budgets: Upper bounds.
    """
    findings: list[Finding] = []
    for path in paths:
        findings += _check_run(path, budgets) if _has_mode(path, stat.S_ISDIR) else _check_lone_file(path, budgets)
    return tuple(findings)


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 0 without errors, 1 if the answer is no, 2 if a path or card is missing or damaged.

    What cannot be answered outweighs a no. A budget on something that is not known is an error of the second
    kind.
    """
    codes = {finding.code for finding in findings if finding.level == "error"}
    if codes - _ANSWERED_NO:
        return InputError.exit_code
    return VerdictError.exit_code if codes else EXIT_OK


def _check_lone_file(path: Path, budgets: tuple[Budget, ...]) -> list[Finding]:
    subject = str(path)
    card_path = path.with_suffix(".json")
    card: Artifact | None = None
    findings: list[Finding] = []
    if card_path != path and _has_mode(card_path, stat.S_ISREG):
        try:
            card = read_card(card_path)
        except ArtifactError as error:
            findings.append(_from_error("bad-card", error))
    findings += _check_file(path, subject, card, budgets)
    for budget in budgets:
        kind = BOUNDED[budget.quantity]
        if kind.is_predicted:
            message = f"its {kind.noun} is not known for this file"
            hint = f"Check the run folder, whose report predicts the {kind.noun}."
            findings.append(_error(f"{kind.word}-not-known", subject, message, hint))
    return _with_ok(findings, subject, _good_words(card, budgets))


def _check_run(run: Path, budgets: tuple[Budget, ...]) -> list[Finding]:
    report, findings = _read_run_report(run)
    cards, card_findings = _read_cards(run)
    findings += card_findings
    rows = {row.path: row for row in report.rows} if report else {}
    budgets = _as_the_run_means(budgets, report)
    for card in cards:
        row = rows.get(card.path)
        bound = tuple(budget for budget in budgets if _binds(budget, card, row))
        findings += _check_run_artifact(run, card, row, bound)
    listed = {card.path for card in cards}
    for path in rows:
        if PurePosixPath(path).parts[:1] == ("artifacts",) and path not in listed:
            message = "the report lists it, but it has no card"
            findings.append(_error("missing-card", str(run / path), message, _CARD_HINT))
    return findings + (_unanswered(run, budgets, cards, rows) if cards else [])


def _as_the_run_means(budgets: tuple[Budget, ...], report: Report | None) -> tuple[Budget, ...]:
    """Return the budgets, each for the precision that the run's own budget on that quantity is for."""
    own = {budget.quantity: budget.precision for budget in report.budgets} if report else {}
    return tuple(replace(budget, precision=own.get(budget.quantity, budget.precision)) for budget in budgets)


def _binds(budget: Budget, card: Artifact, row: Row | None) -> bool:
    # Of a file the report does not know, nothing says that it may be larger.
    return is_bound(row, budget) if row else budget.precision in (None, card.precision)


def _unanswered(run: Path, budgets: tuple[Budget, ...], cards: list[Artifact], rows: dict[str, Row]) -> list[Finding]:
    """Return an error for each budget that no number of the run was compared with."""
    findings = []
    for budget in budgets:
        kind = BOUNDED[budget.quantity]
        bound = [card for card in cards if _binds(budget, card, rows.get(card.path))]
        known = [rows[card.path] for card in bound if card.path in rows]
        is_answered = bool(bound) and (
            not kind.is_predicted or any(actual_value(row, budget) is not None for row in known)
        )
        if not is_answered:
            message = f"there is no artifact whose {kind.noun} is known and that the {kind.word} budget is for"
            hint = "Leave that budget out, or compress for a target with a profile of it."
            findings.append(_error(f"{kind.word}-not-known", str(run), message, hint))
    return findings


def _read_run_report(run: Path) -> tuple[Report | None, list[Finding]]:
    try:
        report = read_report(run)
    except ArtifactError as error:
        return None, [_from_error("bad-report", error)]
    if report.verdict == "pass":
        return report, []
    message = "the verdict of the run is fail"
    return report, [_error("verdict-fail", str(run), message, f"Read it with `edgekd report {run}`.")]


def _read_cards(run: Path) -> tuple[list[Artifact], list[Finding]]:
    cards: list[Artifact] = []
    findings: list[Finding] = []
    paths = sorted(RunFolder(run).artifacts.glob("*.json"))
    for path in paths:
        try:
            card = read_card(path)
        except ArtifactError as error:
            findings.append(_from_error("bad-card", error))
            continue
        if card is None:
            findings.append(_error("bad-card", str(path), "this is no card of an artifact", _CARD_HINT))
        else:
            cards.append(card)
    if not paths:
        hint = "Give the folder that `edgekd compress --run` wrote."
        findings.append(_error("no-artifacts", str(run), "no card of an artifact in artifacts/", hint))
    return cards, findings


def read_card(path: Path) -> Artifact | None:
    """Return the artifact that a card describes; `None` for JSON that was never meant as a card.

    Raises:
        ArtifactError: The card is damaged.
    """
    where = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except _UNREADABLE as error:
        raise ArtifactError(where, expected="a card", found=str(error), hint=_CARD_HINT) from error
    fields = read_object(text, where, _CARD_HINT)
    if not {"sha256", "size_bytes"} & fields.keys():
        return None
    # A card may carry more than is checked here, so fields that are not the artifact's are passed over.
    known = {name: value for name, value in fields.items() if name in field_names(Artifact)}
    card = decode(Artifact, known, where, _CARD_HINT)
    if not _SHA256.fullmatch(card.sha256):
        raise ArtifactError(
            f"{where}, sha256",
            expected="64 hexadecimal digits",
            found=repr(card.sha256[:80]),
            hint=_CARD_HINT,
        )
    return card


def _check_run_artifact(run: Path, card: Artifact, row: Row | None, budgets: tuple[Budget, ...]) -> list[Finding]:
    subject = str(run / card.path)
    try:
        is_inside = (run / card.path).resolve().is_relative_to(run.resolve())
    except _UNREADABLE:
        is_inside = False
    if not is_inside:
        message = "the card points outside the run folder"
        return [_error("path-outside-run", subject, message, _CARD_HINT)]
    findings = _check_file(run / card.path, subject, card, budgets)
    if row is not None and row.size_bytes != card.size_bytes:
        message = f"the report says {row.size_bytes:,} bytes, its card {card.size_bytes:,}"
        findings.append(_error("size-mismatch", subject, message, "Make the run again."))
    for budget in budgets:
        if BOUNDED[budget.quantity].is_predicted:
            findings += _check_prediction(subject, row, budget)
    answered = tuple(
        budget
        for budget in budgets
        if not BOUNDED[budget.quantity].is_predicted or (row and actual_value(row, budget) is not None)
    )
    return _with_ok(findings, subject, _good_words(card, answered))


def _check_file(path: Path, subject: str, card: Artifact | None, budgets: tuple[Budget, ...]) -> list[Finding]:
    """Check one file's presence, its bytes against its card, and its size against the budget."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return [_error("unreadable-file", subject, "this is not a regular file", "Give an artifact file.")]
        sha256 = file_digest(path)
    except FileNotFoundError:
        return [_error("missing-file", subject, "there is no such file", "Check the path, or make the run again.")]
    except _UNREADABLE as error:
        return [_error("unreadable-file", subject, f"it cannot be read: {error}", "Check its permissions.")]
    size_bytes = status.st_size
    if size_bytes == 0:
        return [_error("empty-file", subject, "it holds no bytes", "Make the artifact again.")]
    findings = _compare_with_card(subject, card, size_bytes, sha256) if card else []
    for budget in budgets:
        if budget.quantity == "size_bytes" and size_bytes > budget.limit:
            message = (
                f"{format_quantity('size_bytes', size_bytes)} is more than the budget of "
                f"{format_quantity('size_bytes', budget.limit)}"
            )
            hint = "Compress further with a smaller --max-size, or raise the budget."
            findings.append(_error("size-over-budget", subject, message, hint))
    return findings + _warn_of_external_data(path, subject)


def _compare_with_card(subject: str, card: Artifact, size_bytes: int, sha256: str) -> list[Finding]:
    hint = "The file was changed or cut off after it was made: copy or make it again, with its card."
    if size_bytes != card.size_bytes:
        message = f"the card says {card.size_bytes:,} bytes, the file has {size_bytes:,}"
        return [_error("size-mismatch", subject, message, hint)]
    if sha256 != card.sha256:
        message = f"the card says SHA-256 {card.sha256[:12]}..., the file has {sha256[:12]}..."
        return [_error("hash-mismatch", subject, message, hint)]
    return []


def _warn_of_external_data(path: Path, subject: str) -> list[Finding]:
    """Warn when ONNX weights may lie in a second file, under the names that exporters give it."""
    beside = [path.with_name(path.name + ending) for ending in (".data", "_data")]
    return [
        _warning(
            "external-data",
            subject,
            f"its weights may be in {other.name} beside it, which is not counted",
            "Check that file too, or store the weights in the model.",
        )
        for other in beside
        if path.suffix == ".onnx" and _has_mode(other, stat.S_ISREG)
    ]


def _check_prediction(subject: str, row: Row | None, budget: Budget) -> list[Finding]:
    kind = BOUNDED[budget.quantity]
    actual = actual_value(row, budget) if row else None
    if row is None or actual is None:
        message = f"the report does not predict its {kind.noun}, so the budget says nothing about it"
        return [_warning(f"{kind.word}-not-known", subject, message, "Measure the artifact on the device.")]
    prediction = prediction_of(row, budget.quantity)
    value, limit = (format_quantity(budget.quantity, number) for number in (actual, budget.limit))
    findings = []
    if actual > budget.limit:
        origin = f" ({prediction.origin})" if prediction else ""
        message = f"the predicted {kind.noun} of {value}{origin} is more than the budget of {limit}"
        hint = f"Compress further with a smaller {kind.option}, or raise the budget."
        findings.append(_error(f"{kind.word}-over-budget", subject, message, hint))
    if prediction and prediction.extrapolated:
        message = f"the predicted {kind.noun} of {value} is {EXTRAPOLATED}"
        hint = "Measure the artifact on the device."
        findings.append(_warning("extrapolated", subject, message, hint))
    return findings


def _good_words(card: Artifact | None, budgets: tuple[Budget, ...]) -> str:
    kept = [f"within its {BOUNDED[budget.quantity].word} budget" for budget in budgets]
    return ", ".join(["matches its card" if card else "readable (no card beside it)", *kept])


def _with_ok(findings: list[Finding], subject: str, message: str) -> list[Finding]:
    if any(finding.level == "error" for finding in findings):
        return findings
    return [Finding(level="note", code="ok", subject=subject, message=message), *findings]


def _has_mode(path: Path, is_mode: Callable[[int], bool]) -> bool:
    # Unlike `Path.is_file`, which raises for a name that is too long or a folder that may not be entered.
    try:
        return is_mode(path.stat().st_mode)
    except _UNREADABLE:
        return False


def _from_error(code: str, error: ArtifactError) -> Finding:
    message = f"expected {error.expected}, found {error.found}"
    return _error(code, error.where, message, error.hint)


def _error(code: str, subject: str, message: str, hint: str) -> Finding:
    return Finding(level="error", code=code, subject=subject, message=message, hint=hint)


def _warning(code: str, subject: str, message: str, hint: str) -> Finding:
    return Finding(level="warning", code=code, subject=subject, message=message, hint=hint)
