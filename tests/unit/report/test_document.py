from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekd.errors import ArtifactError, ExportError
from edgekd.records import Metric, Report
from edgekd.report import (
    read_report,
    render_html,
    render_markdown,
    report_from_json,
    report_to_json,
    write_report,
)
from edgekd.report.text import render_text


def _changed(report: Report, change: Callable[[dict[str, Any]], object]) -> str:
    fields = json.loads(report_to_json(report))
    change(fields)
    return json.dumps(fields)


def test_a_report_comes_back_from_json_as_it_was(report: Report) -> None:
    text = report_to_json(report)
    again = report_from_json(text, "report.json")
    assert again == report
    assert report_to_json(again) == text


def test_json_is_sorted_ascii_and_ends_with_one_line_break(report: Report) -> None:
    text = report_to_json(dataclasses.replace(report, title="\u00e9\x1b[31m"))
    assert text.isascii()
    assert "\x1b" not in text
    assert text.endswith("}\n")
    assert list(json.loads(text)) == sorted(json.loads(text))


@pytest.mark.parametrize(
    ("change", "place", "expected", "found"),
    [
        (lambda it: it.update(schema_version=4), "report.json", "schema_version 1, 2 or 3", "4"),
        (lambda it: it.update(schema_version=True), "report.json", "schema_version 1, 2 or 3", "True"),
        (lambda it: it.pop("schema_version"), "report.json", "schema_version 1, 2 or 3", "none"),
        (lambda it: it.pop("title"), "report.json", "the field 'title'", "none"),
        (lambda it: it.update(extra=1), "report.json", "only the fields", "also 'extra'"),
        (lambda it: it.update(title=3), "report.json, title", "a text", "3"),
        (lambda it: it.update(verdict="maybe"), "report.json, verdict", "one of 'pass', 'fail'", "'maybe'"),
        (lambda it: it.update(rows={}), "report.json, rows", "a list", "{}"),
        (lambda it: it["rows"].append(7), "report.json, rows[3]", "an object", "7"),
        (
            lambda it: it["rows"][1].update(size_bytes="9"),
            "report.json, rows[1], size_bytes",
            "a whole number",
            "'9'",
        ),
        (
            lambda it: it["rows"][1].update(macs=True),
            "report.json, rows[1], macs",
            "a whole number",
            "True",
        ),
        (lambda it: it["rows"][1].update(macs=-1), "report.json, rows[1]", "at least zero", "-1"),
        (lambda it: it["rows"][1].update(memory_bytes=-1), "report.json, rows[1]", "at least zero", "-1"),
        (
            lambda it: it["rows"][1].update(macs=10**400),
            "report.json, rows[1], macs",
            "a whole number",
            "1000",
        ),
        (
            lambda it: it["rows"][1]["latency_us"].pop("extrapolated"),
            "report.json, rows[1], latency_us",
            "the field 'extrapolated'",
            "none",
        ),
        (
            lambda it: it["rows"][1]["latency_us"].update(low=9999),
            "report.json, rows[1], latency_us",
            "low <= value",
            "9999",
        ),
        (
            lambda it: it["rows"][0]["accuracy"].update(value=91.3),
            "report.json, rows[0], accuracy",
            "[0, 1]",
            "91.3",
        ),
        (
            lambda it: it["rows"][0]["accuracy"].update(samples=0),
            "report.json, rows[0], accuracy",
            "some samples",
            "0",
        ),
        (lambda it: it["stages"][0].update(seconds=-1), "report.json, stages[0]", "at least zero", "-1"),
        (lambda it: it["budgets"][0].update(limit=0), "report.json, budgets[0]", "above zero", "0"),
        (lambda it: it["budgets"][0].update(limit=None), "report.json, budgets[0], limit", "number", "null"),
        (lambda it: it["widths"][0].pop(), "report.json, widths[0]", "3 entries", "2"),
        (
            lambda it: it["widths"][0].__setitem__(2, 17),
            "report.json",
            "at most as many channels",
            "'layer1'",
        ),
    ],
)
def test_a_wrong_report_is_refused_with_place_expected_found_and_hint(
    report: Report, change: Callable[[dict[str, Any]], object], place: str, expected: str, found: str
) -> None:
    text = _changed(report, change)
    with pytest.raises(ArtifactError) as caught:
        report_from_json(text, "report.json")
    assert caught.value.where == place
    assert expected in caught.value.expected
    assert found in caught.value.found
    assert "Make the report again" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"a": 1, "a": 2}', '{"a": NaN}', "[" * 100_000, '{"a": ' + "9" * 5000 + "}"],
    ids=["empty", "cut", "list", "null", "twice", "nan", "deep", "long"],
)
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        report_from_json(text, "somewhere/report.json")
    assert caught.value.where == "somewhere/report.json"


def test_a_number_beyond_floating_point_is_refused(report: Report) -> None:
    text = report_to_json(report).replace('"limit": 3000.0', '"limit": 1e999')
    assert "1e999" in text
    with pytest.raises(ArtifactError) as caught:
        report_from_json(text, "report.json")
    assert (caught.value.where, caught.value.found) == ("report.json, budgets[1], limit", "inf")


def test_three_files_are_written_and_nothing_else_is_left(report: Report, tmp_path: Path) -> None:
    paths = write_report(report, tmp_path / "run" / "report")
    assert sorted(path.name for path in paths) == ["report.html", "report.json", "report.md"]
    assert sorted((tmp_path / "run" / "report").iterdir()) == sorted(paths)
    texts = {path.name: path.read_text(encoding="utf-8") for path in paths}
    assert texts["report.json"] == report_to_json(report)
    assert texts["report.md"] == render_markdown(report)
    assert texts["report.html"] == render_html(report)


def test_a_report_is_written_over_an_older_one(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path)
    write_report(dataclasses.replace(report, verdict="pass"), tmp_path)
    assert read_report(tmp_path).verdict == "pass"


def test_a_report_that_cannot_be_rendered_leaves_the_older_one(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path)
    broken = dataclasses.replace(report, widths=(("layer1", float("nan"), 1),))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="JSON"):
        write_report(broken, tmp_path)
    assert read_report(tmp_path) == report


def test_a_report_cannot_be_written_where_a_file_stands(report: Report, tmp_path: Path) -> None:
    (tmp_path / "report").write_text("in the way")
    with pytest.raises(ExportError) as caught:
        write_report(report, tmp_path / "report")
    assert str(tmp_path / "report") in caught.value.where


def test_a_report_is_found_by_its_run_its_folder_and_its_file(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path / "report")
    for path in (tmp_path, tmp_path / "report", tmp_path / "report" / "report.json"):
        assert read_report(path) == report


def test_a_run_without_a_report_says_what_it_has_and_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(ArtifactError) as caught:
        read_report(tmp_path)
    assert "report/report.json" in caught.value.expected
    assert "manifest.json" in caught.value.found
    assert "--resume" in caught.value.hint


@pytest.mark.parametrize("name", ["empty", "missing", "bytes.json", "n" * 5000])
def test_what_is_no_run_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ArtifactError) as caught:
        read_report(tmp_path / name)
    assert str(tmp_path / name) in caught.value.where


def _forget_schema_3(fields: dict[str, Any]) -> None:
    fields["schema_version"] = 2
    del fields["deployment"]
    for row in fields["rows"]:
        del row["memory_bytes"]


def test_a_report_of_schema_2_reads_with_its_memory_not_known(report: Report) -> None:
    rows = tuple(dataclasses.replace(row, memory_bytes=None) for row in report.rows)
    old = report_from_json(_changed(report, _forget_schema_3), "report.json")
    assert old == dataclasses.replace(report, rows=rows)
    assert old.schema_version == 3


def test_a_report_of_schema_1_reads_as_accuracies_and_gets_their_binomial_errors(report: Report) -> None:
    def age(fields: dict[str, Any]) -> None:
        _forget_schema_3(fields)
        fields["schema_version"] = 1
        for entry in (*fields["rows"], *fields["stages"]):
            for name in ("accuracy", "trained_accuracy"):
                if entry.get(name) is not None:
                    entry[name] = {key: entry[name][key] for key in ("value", "samples", "split")}
            if entry.get("parity") is not None:
                for name in ("measure", "metric", "metric_unit"):
                    del entry["parity"][name]

    report = dataclasses.replace(report, rows=tuple(dataclasses.replace(row, memory_bytes=None) for row in report.rows))
    assert report_from_json(_changed(report, age), "report.json") == report


def test_a_metric_of_another_task_is_shown_with_its_name_and_direction(report: Report) -> None:
    error = Metric(
        value=0.12321, samples=40, split="test", name="RMSE", higher_is_better=False, unit="number", standard_error=0.01
    )
    trained = dataclasses.replace(error, value=0.1, standard_error=None)
    rows = tuple(dataclasses.replace(row, accuracy=error, trained_accuracy=trained) for row in report.rows)
    shown = report_from_json(report_to_json(dataclasses.replace(report, rows=rows)), "report.json")
    markdown = render_markdown(shown)
    assert "RMSE (lower is better) of the file" in markdown
    # 0.12321 to four digits is 0.1232, and 0.1232 - 0.1 = 0.0232.
    assert "0.1232" in markdown
    assert "+0.0232" in markdown.replace("\\", "")
    assert "RMSE (lower is better) (test)" in render_text(shown)
    assert "RMSE (lower is better) over file size" in render_html(shown)
