"""The README quotes what the stored results say, and the stored results keep the promises they were made under."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edgekd.report.document import read_report

ROOT = Path(__file__).resolve().parent.parent
STORED = sorted((ROOT / "benchmarks" / "results").glob("resnet56_*.json"))


def _benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("resnet56", ROOT / "benchmarks" / "resnet56_cifar10.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_shows_the_stored_results() -> None:
    benchmark = _benchmark()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = readme.partition(benchmark.BEGIN)[2].partition(benchmark.END)[0].strip()
    assert shown == benchmark.readme_table(benchmark.stored_reports())
    assert len(STORED) == len(benchmark.TARGETS)


@pytest.mark.parametrize("path", STORED, ids=[path.stem for path in STORED])
def test_a_stored_result_kept_its_budget_and_every_parity_check(path: Path) -> None:
    report = read_report(path)
    sizes = {row.name: row.size_bytes for row in report.rows}
    (budget,) = report.budgets
    assert budget.limit <= sizes["original fp32"] / 8
    assert sizes["compressed int8"] <= budget.limit
    assert all(row.parity is not None and row.parity.passed for row in report.rows)
    assert report.verdict == "pass"


@pytest.mark.parametrize("path", STORED, ids=[path.stem for path in STORED])
def test_a_stored_result_names_no_place_of_the_machine_it_was_made_on(path: Path) -> None:
    # A path that starts at the root of a file system; relative ones and URLs are fine.
    absolute = re.findall(r"(?<![\w./:])/(?:[\w.-]+/)+[\w.-]+", path.read_text(encoding="utf-8"))
    assert absolute == []


def _stored(name: str) -> Any:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("network", ["resnet20", "resnet56"])
def test_the_table_of_importance_criteria_is_that_of_the_stored_results(
    network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    table = importlib.import_module("importance").table(_stored(f"importance_{network}")["entries"])
    assert table in (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")


def test_the_table_of_recalibration_is_that_of_the_stored_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    stored = _stored("recalibration")
    module = importlib.import_module("recalibration")
    assert stored["plans"] == len(stored["entries"])
    assert module.correlations(stored["entries"]) == stored["kendall_tau"]
    assert module.table(stored["kendall_tau"]) in (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")


def test_the_table_of_the_closed_loop_is_that_of_the_stored_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    table = importlib.import_module("host_profile").table(_stored("host_profile")["settings"])
    assert table in (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
