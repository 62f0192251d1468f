"""The answer of a check as JUnit XML, which every CI server shows as tests.

A file or run is a test suite. Its cases are its integrity and each value beside its bound. A bound that is broken is a
failure, what cannot be answered an error, and a value that need not be known skipped.

Source: the elements and attributes that Jenkins and Maven Surefire share,
https://maven.apache.org/surefire/maven-surefire-plugin/xsd/surefire-test-report.xsd
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree

from edgekd.checks.artifact import Checked
from edgekd.checks.findings import verdict_of
from edgekd.checks.limits import Comparison
from edgekd.checks.quantities import QUANTITIES
from edgekd.records import Finding
from edgekd.report.escape import printable

# The ends of codes that a comparison of its own stands for.
_COMPARED = ("-over-budget", "-under-budget", "-regression", "-inconclusive", "-not-known")


def to_junit(checked: Checked) -> str:
    """Return one XML document."""
    suites = ElementTree.Element("testsuites", name="edgekd check")
    everything: list[Finding | Comparison] = [*checked.findings, *checked.comparisons]
    for subject in dict.fromkeys(item.subject for item in everything):
        findings = [finding for finding in checked.findings if finding.subject == subject]
        comparisons = [comparison for comparison in checked.comparisons if comparison.subject == subject]
        suites.append(_suite(subject, findings, comparisons))
    for name in ("tests", "failures", "errors", "skipped"):
        suites.set(name, str(sum(int(suite.get(name, "0")) for suite in suites)))
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def _suite(subject: str, findings: list[Finding], comparisons: list[Comparison]) -> ElementTree.Element:
    suite = ElementTree.Element("testsuite", name=printable(subject))
    told = [finding for finding in findings if not (comparisons and finding.code.endswith(_COMPARED))]
    suite.append(_integrity(subject, told))
    for comparison in comparisons:
        suite.append(_case(comparison, findings))
    counts = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    suite.set("tests", str(len(suite)))
    for name, element in counts.items():
        suite.set(name, str(len(suite.findall(f"testcase/{element}"))))
    suite.set("time", "0")
    return suite


def _integrity(subject: str, findings: list[Finding]) -> ElementTree.Element:
    case = ElementTree.Element("testcase", classname=printable(subject), name="integrity", time="0")
    errors = [finding for finding in findings if finding.level == "error"]
    verdict = verdict_of(errors)
    if errors:
        element = "failure" if verdict == "FAIL" else "error"
        _problem(case, element, ", ".join(dict.fromkeys(it.code for it in errors)), errors)
    _system_out(case, (finding for finding in findings if finding.level != "error"))
    return case


def _case(comparison: Comparison, findings: list[Finding]) -> ElementTree.Element:
    about = QUANTITIES[comparison.quantity]
    rule = "budget" if comparison.baseline is None else "regression"
    name = f"{about.word} {rule}"
    case = ElementTree.Element("testcase", classname=printable(comparison.subject), name=name, time="0")
    ending = ("-regression",) if comparison.baseline is not None else tuple(set(_COMPARED) - {"-regression"})
    its = [it for it in findings if it.code.startswith(f"{about.code}-") and it.code.endswith(ending)]
    errors = [finding for finding in its if finding.level == "error"]
    if errors:
        _problem(case, "failure" if verdict_of(errors) == "FAIL" else "error", errors[0].code, errors)
    elif comparison.status == "inconclusive":
        message = its[0].message if its else "not known"
        ElementTree.SubElement(case, "skipped", message=printable(message))
    else:
        actual = "" if comparison.actual is None else about.show(comparison.actual)
        ElementTree.SubElement(case, "system-out").text = f"{actual}, bound {about.show(comparison.limit)}"
    return case


def _problem(case: ElementTree.Element, element: str, kind: str, findings: list[Finding]) -> None:
    problem = ElementTree.SubElement(case, element, message=printable(findings[0].message), type=kind)
    problem.text = _lines(findings)


def _system_out(case: ElementTree.Element, findings: Iterable[Finding]) -> None:
    text = _lines(findings)
    if text:
        ElementTree.SubElement(case, "system-out").text = text


def _lines(findings: Iterable[Finding]) -> str:
    return "\n".join(printable(f"{it.code}: {it.message}. {it.hint or ''}".strip()) for it in findings)
