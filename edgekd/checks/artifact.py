"""The checks of one artifact: its bytes, its limits, its operators, and what it was in the baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgekd.checks.baseline import Baseline, Tolerance, compare_with_baseline, row_of
from edgekd.checks.cards import check_file, warn_of_external_data
from edgekd.checks.findings import error_finding, finding_of, warning_finding
from edgekd.checks.graph import GraphSummary, read_graph
from edgekd.checks.limits import Comparison, Limit, compare, unknown
from edgekd.checks.quantities import QUANTITIES, Known
from edgekd.checks.runtime import check_runtime
from edgekd.errors import ArtifactError
from edgekd.records import Artifact, Finding, Row, Target

# What a file says about itself.
_OF_THE_FILE = ("size_bytes", "parameters", "opset")
_RUN_HINT = "Check the run folder, whose report knows the {word}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of every artifact.

    `target` is the device whose runtime has to have the operators. `measured` are latencies measured here, by
    path, and `unmeasured` the reasons for which there is none.
    """

    limits: tuple[Limit, ...] = ()
    target: Target | None = None
    baseline: Path | None = None
    tolerances: Mapping[str, Tolerance] = field(default_factory=dict)
    measured: Mapping[Path, Known] = field(default_factory=dict)
    unmeasured: Mapping[Path, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One artifact, with the limits that are for it, its card and its row of the report, where there are any."""

    path: Path
    limits: tuple[Limit, ...]
    card: Artifact | None
    row: Row | None
    is_lone: bool

    @property
    def subject(self) -> str:
        """What findings call it."""
        return str(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was found, and every value that was compared with something."""

    findings: tuple[Finding, ...] = ()
    comparisons: tuple[Comparison, ...] = ()

    def __add__(self, other: Checked) -> Checked:
        return Checked(findings=self.findings + other.findings, comparisons=self.comparisons + other.comparisons)


def check_item(item: Item, question: Question, baseline: Baseline | None, before: list[Finding]) -> Checked:
    """Return what there is to say about an artifact; `before` has been found about it already."""
    size_bytes, findings = check_file(item.path, item.subject, item.card)
    findings = [*before, *findings]
    if item.row is not None and item.card is not None and size_bytes and item.row.size_bytes != item.card.size_bytes:
        message = f"the report says {item.row.size_bytes:,} bytes, its card {item.card.size_bytes:,}"
        findings.append(error_finding("size-mismatch", item.subject, message, "Make the run again."))
    graph, graph_findings = _graph(item, question) if size_bytes else (None, [])
    known = _known(item, question, size_bytes, graph)
    comparisons, budget_findings, kept = _check_limits(item, known, is_usable=size_bytes is not None)
    findings += [*graph_findings, *budget_findings]
    if size_bytes:
        findings += warn_of_external_data(item.path, item.subject)
    if item.path in question.unmeasured:
        message = f"it could not be measured: {question.unmeasured[item.path]}"
        findings.append(error_finding("not-measured", item.subject, message, "Run it in onnxruntime by hand."))
    if graph is not None and question.target is not None:
        findings += check_runtime(item.subject, graph, _runtime(item, question.target))
    if baseline is not None and size_bytes:
        regressions, regression_findings = _check_baseline(item, known, baseline)
        comparisons += regressions
        findings += regression_findings
    return Checked(findings=tuple(_with_ok(findings, item, kept)), comparisons=tuple(comparisons))


def _check_limits(
    item: Item, known: Mapping[str, Known], *, is_usable: bool
) -> tuple[list[Comparison], list[Finding], list[str]]:
    """Return the comparisons, the findings, and the words of the quantities whose limits are kept."""
    comparisons: list[Comparison] = []
    findings: list[Finding] = []
    kept = []
    for limit in item.limits:
        if limit.quantity in known:
            comparison, about_it = compare(item.subject, limit, known[limit.quantity])
            comparisons.append(comparison)
            findings += about_it
            kept += [limit.about.word] if comparison.status == "pass" else []
        elif is_usable or limit.quantity not in _OF_THE_FILE:
            comparisons.append(unknown(item.subject, limit))
            findings.append(_not_known(item, limit))
    return comparisons, findings, kept


def _not_known(item: Item, limit: Limit) -> Finding:
    word, code = limit.about.word, f"{limit.about.code}-not-known"
    if item.is_lone:
        message = f"its {word} is not known for this file"
        return error_finding(code, item.subject, message, _RUN_HINT.format(word=word))
    message = f"the report does not know its {word}, so the budget says nothing about it"
    return warning_finding(code, item.subject, message, "Measure the artifact on the device.")


def _graph(item: Item, question: Question) -> tuple[GraphSummary | None, list[Finding]]:
    """Return what an ONNX file says about itself, if that is asked for."""
    quantities = {limit.quantity for limit in item.limits}
    is_asked = question.target is not None or "opset" in quantities or ("parameters" in quantities and item.row is None)
    if not is_asked or item.path.suffix != ".onnx":
        return None, []
    try:
        return read_graph(item.path), []
    except ArtifactError as error:
        return None, [finding_of("bad-onnx", error)]


def _known(item: Item, question: Question, size_bytes: int | None, graph: GraphSummary | None) -> dict[str, Known]:
    """Return all that is known: by the file, by the report of its run, and by measuring here, the last winning."""
    found = {name: about.of_row(item.row) for name, about in QUANTITIES.items()} if item.row is not None else {}
    known = {name: value for name, value in found.items() if value is not None}
    known.pop("size_bytes", None)
    if size_bytes:
        known["size_bytes"] = Known(value=size_bytes)
    if graph is not None:
        known["opset"] = Known(value=graph.opset)
        known.setdefault("parameters", Known(value=graph.parameters, how="stored"))
    if item.path in question.measured:
        known["latency_us"] = question.measured[item.path]
    elif item.path in question.unmeasured:
        known.pop("latency_us", None)
    return known


def _runtime(item: Item, target: Target) -> str:
    """Return the runtime that the target deploys a file with: on the processor it is for, else the first one."""
    processor = item.card.processor if item.card else item.row.processor if item.row else None
    kinds = [kind for kind in (processor, target.artifacts[0][1]) if kind in {it.kind for it in target.processors}]
    return target.processor(str(kinds[0])).runtime


def _check_baseline(
    item: Item, known: Mapping[str, Known], baseline: Baseline
) -> tuple[list[Comparison], list[Finding]]:
    before = row_of(item.path, item.card, item.row, baseline)
    if before is None:
        message = "the baseline knows no artifact of that name, so it is compared with nothing"
        return [], [warning_finding("baseline-lacks-it", item.subject, message, "It is new, or was renamed.")]
    return compare_with_baseline(item.subject, known, before, baseline)


def _with_ok(findings: list[Finding], item: Item, kept: list[str]) -> list[Finding]:
    if any(finding.level == "error" for finding in findings):
        return findings
    whole = "matches its card" if item.card else "readable (no card beside it)"
    message = ", ".join([whole, *(f"within its {word} budget" for word in kept)])
    return [Finding(level="note", code="ok", subject=item.subject, message=message), *findings]
