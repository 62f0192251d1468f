"""What the deployed artifact runs on and where its predicted latency goes, in every form of the report."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest

from edgekd.errors import ArtifactError
from edgekd.records import Deployment, OperatorCost, Report
from edgekd.report import render_html, render_markdown, report_from_json, report_to_json
from edgekd.report.collect import launch_remarks
from edgekd.report.view import view_report


def _operator(name: str, before: float, after: float) -> OperatorCost:
    return OperatorCost(name=name, op="conv", latency_us=(before, after), energy_uj=(2 * before, 2 * after))


@pytest.fixture
def deployment() -> Deployment:
    """Three operators of 400 us in all, of which two compute."""
    return Deployment(
        precision="fp16",
        processor="256 Pascal cores",
        runtime="TensorRT",
        threads=None,
        launches=2,
        launch_floor_us=95.0,
        operators=(_operator("stem", 500, 80), _operator("block", 900, 300), _operator("sum", 25, 20)),
    )


@pytest.fixture
def deployed(report: Report, deployment: Deployment) -> Report:
    return dataclasses.replace(report, deployment=deployment)


def test_it_is_told_what_the_prediction_is_for_and_what_launches_take_of_it(deployed: Report) -> None:
    text = render_markdown(deployed)
    assert "| processor | 256 Pascal cores |" in text
    assert "| runtime | TensorRT |" in text
    assert "| predicted latency | 400 us (as it came: 1.43 ms) |" in text  # 500 + 900 + 25
    assert "190 us (2 that compute, 95 us each)" in text


def test_the_page_folds_the_operators_the_slowest_first_and_markdown_leaves_them_out(deployed: Report) -> None:
    page = render_html(deployed)
    folded = re.search(r"<details>(.*?)</details>", page, flags=re.DOTALL)
    assert folded is not None
    assert page.count("<details>") == 1
    names = re.findall(r'<th scope="row"[^>]*><div>\s*(\w+)', folded[1])
    assert names == ["block", "stem", "sum"]
    assert "width: 75.0%" in folded[1]  # 300 of 400
    assert "3 lines" in folded[1]
    assert "no error of its own" in folded[1]
    assert "block" not in render_markdown(deployed)


def test_json_has_every_operator_and_comes_back(deployed: Report) -> None:
    text = report_to_json(deployed)
    assert report_from_json(text, "report.json") == deployed
    operators = json.loads(text)["deployment"]["operators"]
    assert [operator["latency_us"] for operator in operators] == [[500, 80], [900, 300], [25, 20]]


def test_energy_has_columns_where_it_is_known(deployed: Report, deployment: Deployment) -> None:
    (shown,) = (section for section in view_report(deployed).sections if section.is_folded)
    assert shown.headers[-2:] == ("Energy before", "Energy after")
    assert [cell.text for cell in shown.rows[0]][-2:] == ["1.8 mJ", "600 uJ"]
    silent = tuple(dataclasses.replace(operator, energy_uj=None) for operator in deployment.operators)
    without = dataclasses.replace(deployed, deployment=dataclasses.replace(deployment, operators=silent))
    (shown,) = (section for section in view_report(without).sections if section.is_folded)
    assert len(shown.headers) == len(shown.rows[0]) == 5


def test_a_target_without_a_table_still_tells_what_it_runs_on(deployed: Report, deployment: Deployment) -> None:
    bare = dataclasses.replace(deployment, operators=(), launch_floor_us=None, threads=4, runtime="ONNX Runtime CPU")
    text = render_markdown(dataclasses.replace(deployed, deployment=bare))
    assert "| runtime | ONNX Runtime CPU, 4 threads |" in text
    assert "| predicted latency | not known |" in text
    assert "<details>" not in render_html(dataclasses.replace(deployed, deployment=bare))


def test_names_of_operators_do_not_act_on_the_page(deployed: Report, deployment: Deployment) -> None:
    hostile = dataclasses.replace(deployment, operators=(_operator("<script>alert(1)</script>\x1b", 1, 1),))
    page = render_html(dataclasses.replace(deployed, deployment=hostile))
    assert "<script" not in page
    assert "\x1b" not in page


@pytest.mark.parametrize(
    ("floor_us", "is_near"),
    [(160.0, True), (159.0, False), (250.0, True), (None, False)],
    ids=["a fifth to gain", "more to gain", "below the floor", "not known"],
)
def test_a_latency_that_is_mostly_launches_is_remarked(
    deployment: Deployment, floor_us: float | None, is_near: bool
) -> None:
    # 400 us are 1.25 times two launches of 160 us.
    found = launch_remarks(dataclasses.replace(deployment, launch_floor_us=floor_us))
    assert [(finding.level, finding.code) for finding in found] == [("note", "near-launch-floor")] * is_near
    assert all("predicted latency is 400 us" in finding.message for finding in found)


def test_costs_below_zero_are_refused(deployed: Report, deployment: Deployment) -> None:
    odd = dataclasses.replace(deployment, operators=(_operator("block", 900, -300),))
    text = report_to_json(dataclasses.replace(deployed, deployment=odd))
    with pytest.raises(ArtifactError, match="at least zero"):
        report_from_json(text, "report.json")
