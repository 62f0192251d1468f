from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from edgekd.checks import Checked, Limit, Question, check
from edgekd.checks.junit import to_junit
from edgekd.checks.render import to_github, to_json, to_markdown, to_text
from edgekd.records import Finding

Make = Callable[..., Path]
HOSTILE = "<script>alert(1)</script>\x1b[31m\n::error::x | `y` ]]>"
# What Jenkins and Surefire know, with the attributes they read.
ELEMENTS = {
    "testsuites": {"name", "tests", "failures", "errors", "skipped"},
    "testsuite": {"name", "tests", "failures", "errors", "skipped", "time"},
    "testcase": {"name", "classname", "time"},
    "failure": {"message", "type"},
    "error": {"message", "type"},
    "skipped": {"message"},
    "system-out": set(),
}
CHILDREN = {
    "testsuites": {"testsuite"},
    "testsuite": {"testcase"},
    "testcase": {"failure", "error", "skipped", "system-out"},
}


@pytest.fixture
def checked(make_run: Make, tmp_path: Path) -> Checked:
    """One budget kept, one broken, one that cannot be answered, a regression, and a file that is not there."""
    limits = (
        Limit(quantity="size_bytes", limit=1000, origin="--max-size"),
        Limit(quantity="latency_us", limit=1.0),
        Limit(quantity="opset", limit=17, files="nothing"),
    )
    baseline = make_run("before", size_bytes=10, macs=1)
    question = Question(limits=limits, baseline=baseline)
    lone = tmp_path / "lone.onnx"
    lone.write_bytes(b"x")
    return check([make_run(), tmp_path / "gone.onnx", lone], question)


@pytest.fixture
def hostile() -> Checked:
    finding = Finding(level="error", code="missing-file", subject=HOSTILE, message=HOSTILE, hint=HOSTILE)
    return Checked(findings=(finding,))


def test_junit_has_only_elements_and_attributes_that_servers_know(checked: Checked) -> None:
    root = ElementTree.fromstring(to_junit(checked))  # noqa: S314  # made here
    assert root.tag == "testsuites"
    for element in root.iter():
        assert set(element.attrib) <= ELEMENTS[element.tag]
        assert {child.tag for child in element} <= CHILDREN.get(element.tag, set())
        if element.tag in ("testsuite", "testcase"):
            assert element.get("name")


def test_junit_counts_what_it_holds(checked: Checked) -> None:
    root = ElementTree.fromstring(to_junit(checked))  # noqa: S314  # made here
    for suite in [root, *root]:
        assert int(suite.get("tests", "")) == len(suite.findall(".//testcase"))
        assert int(suite.get("failures", "")) == len(suite.findall(".//failure"))
        assert int(suite.get("errors", "")) == len(suite.findall(".//error"))
        assert int(suite.get("skipped", "")) == len(suite.findall(".//skipped"))


def test_junit_has_a_case_for_each_value_with_its_outcome(checked: Checked) -> None:
    root = ElementTree.fromstring(to_junit(checked))  # noqa: S314  # made here
    outcomes = {
        (Path(case.get("classname", "")).name, case.get("name")): next((child.tag for child in case), "")
        for case in root.iter("testcase")
    }
    name = "model.int8.onnx"
    assert outcomes[name, "integrity"] == ""
    assert outcomes[name, "size budget"] == "system-out"
    assert outcomes[name, "latency budget"] == "failure"
    assert outcomes[name, "MACs regression"] == "failure"
    assert outcomes[name, "accuracy regression"] == "system-out"
    assert outcomes["gone.onnx", "integrity"] == "error"
    assert outcomes["lone.onnx", "latency budget"] == "error"


def test_every_form_says_the_verdict(checked: Checked) -> None:
    assert to_text(checked).splitlines()[-1].startswith("INCONCLUSIVE: ")
    assert to_github(checked).splitlines()[-1].startswith("INCONCLUSIVE: ")
    assert to_markdown(checked).startswith("## EdgeKD check: INCONCLUSIVE\n")
    document = json.loads(to_json(checked))
    assert (document["verdict"], document["exit_code"]) == ("INCONCLUSIVE", 2)
    assert len(document["comparisons"]) == len(checked.comparisons)


def test_annotations_are_of_the_level_and_file_of_the_finding(checked: Checked) -> None:
    lines = to_github(checked).splitlines()
    (line,) = [line for line in lines if "latency-over-budget" in line]
    assert line.startswith("::error file=")
    assert "model.int8.onnx,title=edgekd latency-over-budget::" in line
    assert len(lines) == len(checked.findings) + 1


def test_markdown_has_a_row_for_each_value(checked: Checked) -> None:
    rows = [line for line in to_markdown(checked).splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(checked.comparisons)
    assert any("latency" in row and "predicted" in row and "at most 1 us" in row and "fail" in row for row in rows)


def test_nothing_hostile_acts_in_any_form(hostile: Checked) -> None:
    for text in (to_text(hostile), to_github(hostile), to_markdown(hostile), to_junit(hostile), to_json(hostile)):
        assert "\x1b" not in text
    assert "<script" not in to_markdown(hostile)
    assert "<script" not in to_junit(hostile)
    assert "\n::error::x" not in to_github(hostile)
    assert len(to_github(hostile).splitlines()) == 2
    root = ElementTree.fromstring(to_junit(hostile))  # noqa: S314  # made here
    assert r"<script>alert(1)</script>\x1b[31m" in (root[0].get("name") or "")
