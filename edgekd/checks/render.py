"""The answer of a check as text, JSON, Markdown and GitHub annotations."""

from __future__ import annotations

import dataclasses
import json

from edgekd.checks.artifact import Checked
from edgekd.checks.findings import exit_code, verdict_of
from edgekd.checks.limits import Comparison
from edgekd.checks.quantities import QUANTITIES
from edgekd.records import Finding
from edgekd.report.escape import escape_markdown, printable

_SCHEMA_VERSION = 1
_NOT_KNOWN = "not known"


def to_json(checked: Checked) -> str:
    """Return one JSON document: verdict, exit code, findings, and every value beside its bound, in base units."""
    document = {
        "schema_version": _SCHEMA_VERSION,
        "verdict": verdict_of(checked.findings),
        "exit_code": exit_code(checked.findings),
        "findings": [dataclasses.asdict(finding) for finding in checked.findings],
        "comparisons": [dataclasses.asdict(comparison) for comparison in checked.comparisons],
    }
    return json.dumps(document, indent=2, sort_keys=True)


def to_text(checked: Checked) -> str:
    """Return a line for each finding, with its hint below it, and the verdict last."""
    lines = []
    for finding in checked.findings:
        what = finding.code if finding.level == "note" else f"{finding.level} {finding.code}"
        lines.append(f"{what}: {printable(finding.subject)}: {printable(finding.message)}")
        if finding.hint:
            lines.append(f"  hint: {printable(finding.hint)}")
    return "\n".join([*lines, summary_line(checked)])


def summary_line(checked: Checked) -> str:
    """Return the verdict with how much was looked at."""
    compared = len(checked.comparisons)
    whole = len({finding.subject for finding in checked.findings if finding.code == "ok"})
    errors = sum(finding.level == "error" for finding in checked.findings)
    counts = [_count(whole, "artifact", "in order"), _count(errors, "error"), _count(compared, "value", "compared")]
    return f"{verdict_of(checked.findings)}: {', '.join(counts)}"


def to_markdown(checked: Checked) -> str:
    """Return a summary for a pull request: the verdict, a table of the values, and the findings."""
    blocks = [f"## EdgeKD check: {verdict_of(checked.findings)}"]
    if checked.comparisons:
        lines = ["| Artifact | Quantity | Actual | Bound | Baseline | Result |", "|---|---|--:|--:|--:|---|"]
        lines += [_markdown_row(comparison) for comparison in checked.comparisons]
        blocks.append("\n".join(lines))
    told = [_markdown_finding(finding) for finding in checked.findings]
    blocks.append("\n".join(told) if told else "Nothing was checked.")
    return "\n\n".join(blocks) + "\n"


def to_github(checked: Checked) -> str:
    """Return workflow commands, which GitHub shows as annotations, and the verdict.

    Source: https://docs.github.com/actions/reference/workflow-commands-for-github-actions, "Setting an error message".
    """
    lines = [_annotation(finding) for finding in checked.findings]
    return "\n".join([*lines, summary_line(checked)])


def _annotation(finding: Finding) -> str:
    command = {"error": "error", "warning": "warning", "note": "notice"}[finding.level]
    hint = f" {finding.hint}" if finding.hint else ""
    properties = f"file={_property(finding.subject)},title={_property(f'edgekd {finding.code}')}"
    return f"::{command} {properties}::{_data(f'{finding.subject}: {finding.message}.{hint}')}"


def _data(text: str) -> str:
    return printable(text).replace("%", "%25")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _markdown_row(comparison: Comparison) -> str:
    about = QUANTITIES[comparison.quantity]
    actual = _NOT_KNOWN if comparison.actual is None else about.show(comparison.actual)
    how = f" ({comparison.how})" if comparison.how else ""
    relation = "at most" if about.lower_is_better else "at least"
    cells = (
        comparison.subject,
        about.word,
        actual + how,
        f"{relation} {about.show(comparison.limit)}",
        "" if comparison.baseline is None else about.show(comparison.baseline),
        comparison.status,
    )
    return f"| {' | '.join(map(escape_markdown, cells))} |"


def _markdown_finding(finding: Finding) -> str:
    text = f"- **{finding.level}** {finding.code}: {escape_markdown(finding.subject)}: "
    hint = f" {escape_markdown(finding.hint)}" if finding.hint else ""
    return f"{text}{escape_markdown(finding.message)}.{hint}"


def _count(number: int, noun: str, what: str = "") -> str:
    return f"{number} {noun}{'' if number == 1 else 's'} {what}".rstrip()
