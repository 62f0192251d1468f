from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edgekd.records import Report
from edgekd.report import report_from_json, report_to_json
from edgekd.report.schema import report_schema, schema_text

CHECKOUT = Path(__file__).resolve().parents[3]
STORED = sorted((CHECKOUT / "benchmarks" / "results").glob("resnet56_*.json"))


@pytest.fixture
def validator() -> jsonschema.Draft202012Validator:
    schema = report_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_published_schema_is_what_the_code_says() -> None:
    path = CHECKOUT / "docs" / "report.schema.json"
    if not path.is_file():
        pytest.skip("the documents are not installed with the package")
    assert path.read_text(encoding="utf-8") == schema_text(), "run: python tools/report_schema.py --write"


@pytest.mark.parametrize("path", STORED, ids=[path.stem for path in STORED])
def test_the_report_of_a_real_run_is_valid(path: Path, validator: jsonschema.Draft202012Validator) -> None:
    # Stored reports may be of an earlier version; what is read is written again as the current one.
    text = report_to_json(report_from_json(path.read_text(encoding="utf-8"), str(path)))
    validator.validate(json.loads(text))


def test_a_report_with_everything_in_it_is_valid(report: Report, validator: jsonschema.Draft202012Validator) -> None:
    validator.validate(json.loads(report_to_json(report)))


def _without_title(document: dict[str, Any]) -> None:
    del document["title"]


def _with_more(document: dict[str, Any]) -> None:
    document["more"] = 1


def _with_a_text_for_a_number(document: dict[str, Any]) -> None:
    document["rows"][0]["macs"] = "many"


def _with_another_verdict(document: dict[str, Any]) -> None:
    document["verdict"] = "maybe"


def _of_another_version(document: dict[str, Any]) -> None:
    document["schema_version"] = 99


@pytest.mark.parametrize(
    "change",
    [_without_title, _with_more, _with_a_text_for_a_number, _with_another_verdict, _of_another_version],
    ids=lambda change: change.__name__.strip("_"),
)
def test_a_report_that_is_read_with_an_error_is_not_valid_either(
    change: Any, report: Report, validator: jsonschema.Draft202012Validator
) -> None:
    document = json.loads(report_to_json(report))
    change(document)
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(document)
