"""Tables of measured operators: as files, as predictions, and in place of the models that come with EdgeKD."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from staircase import GRID, convolutions, staircase_us

from edgekd.errors import ProfileError
from edgekd.hardware.cost import load_cost_model, predict_cost, predict_latency_us
from edgekd.hardware.data import users_profiles
from edgekd.hardware.interpolation import OperatorList
from edgekd.hardware.measured import MeasuredNetwork, MeasuredTable, Rows, TableCheck
from edgekd.hardware.profile import Coverage
from edgekd.hardware.table_files import read_table, write_table
from edgekd.profiling.fit import fit_kinds

INTERVAL = (-0.1, 0.08)


@pytest.fixture(scope="module")
def table() -> MeasuredTable:
    times = staircase_us(GRID).round(3)
    networks = tuple(MeasuredNetwork(name=f"n{i}", measured_us=100.0 + i, predicted_us=101.0 + i) for i in range(8))
    return MeasuredTable(
        target="rpi4",
        processor="cpu",
        precision="fp32",
        runtime="onnxruntime",
        runtime_version="onnxruntime 1.27.0",
        threads=2,
        measured_on="a board, 4 cores",
        measured_at="2026-11-01T10:00:00+00:00",
        device={"kernel": "6.1"},
        settings={"pin": "not pinned"},
        networks=24,
        overhead_us=1.5,
        rows=Rows(operators=GRID, count=(1,) * len(times), p50_us=times, p90_us=times + 1, p99_us=times + 2),
        kinds=fit_kinds(OperatorList.of(GRID), times),
        coverage=Coverage(gmacs=(0.001, 0.1), latency_us=(100.0, 5000.0), max_share=()),
        check=TableCheck(
            networks=networks,
            median_error=0.01,
            within_15_percent=1.0,
            spearman=1.0,
            cross_validation_median=0.03,
            interval_log=INTERVAL,
            interval_coverage=0.875,
        ),
        warnings=("clocks are not pinned",),
    )


@pytest.fixture
def path(table: MeasuredTable, tmp_path: Path) -> Path:
    return write_table(table, tmp_path)


def test_a_table_is_read_back_with_the_same_predictions(table, path):
    again = read_table(path)
    assert path.name == "cpu-fp32-onnxruntime-2t.toml"
    assert predict_latency_us(again, GRID) == pytest.approx(predict_latency_us(table, GRID), rel=1e-9)
    assert (again.check, again.warnings, again.coverage) == (table.check, table.warnings, table.coverage)


def test_a_prediction_says_that_it_was_measured_and_how_well(table):
    cost = predict_cost(table, convolutions([(24, 40), (40, 24)]))
    assert cost.latency_us.origin == "measured"
    assert not cost.latency_us.extrapolated
    assert cost.latency_us.low == pytest.approx(cost.latency_us.value * np.exp(INTERVAL[0]))
    assert cost.latency_us.high == pytest.approx(cost.latency_us.value * np.exp(INTERVAL[1]))
    assert "a board, 4 cores, 2 threads; median error 1.0% on 8 networks" in cost.latency_us.source


def test_operators_without_rows_are_counted_and_widen_the_interval(table):
    near, far = (predict_cost(table, convolutions(widths)).latency_us for widths in ([(24, 40)], [(24, 40), (4000, 9)]))
    assert "1 of 2 operators are not covered" in far.source
    assert far.extrapolated
    assert far.high / far.value > near.high / near.value
    assert far.low / far.value < near.low / near.value


def test_a_users_table_replaces_the_model_that_comes_with_edgekd(table, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKD_PROFILES", str(tmp_path))
    assert load_cost_model("rpi4", "cpu", "fp32").runtime != "onnxruntime"
    write_table(table, tmp_path)
    assert load_cost_model("rpi4", "cpu", "fp32").runtime == "onnxruntime"
    assert load_cost_model("rpi4", "cpu", "int8").runtime != "onnxruntime"
    assert load_cost_model("rpi4", "cpu", "fp32", runtime="tflite").runtime == "tflite"


def test_of_several_tables_that_of_most_threads_counts_unless_another_is_asked_for(table, tmp_path):
    for threads in (1, 4, 2):
        write_table(dataclasses.replace(table, threads=threads), tmp_path)
    assert load_cost_model("rpi4", "cpu", "fp32", folder=tmp_path).threads == 4
    assert load_cost_model("rpi4", "cpu", "fp32", threads=1, folder=tmp_path).threads == 1
    assert load_cost_model("rpi4", "cpu", "fp32", threads=3, folder=tmp_path) is None


def test_users_tables_lie_in_their_data_folder(monkeypatch):
    monkeypatch.delenv("EDGEKD_PROFILES", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert users_profiles() == Path("/data/edgekd/profiles")


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


FIRST = "conv,,9,1,1,1,256,256,8,8,1,"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("p50_us,p90_us", "p50_ms,p90_us", r"line 1.*p50_us.*'p50_ms'"),
        (FIRST, "conv,,9,1,1,1,256,256,8,8,0,", "line 2, count: expected a whole number of at least 1, found '0'"),
        (FIRST, "conv,,9,1,1,1,256,256,-8,8,1,", "line 2, in_channels.*'-8'"),
        (FIRST, "konv,,9,1,1,1,256,256,8,8,1,", "line 2, op.*'konv'"),
        (FIRST, f"{FIRST}-", "line 2, p50_us: expected microseconds above 0, found '-"),
        (FIRST, f"{FIRST}nan", "line 2, p50_us.*'nan"),
        (FIRST, f"{FIRST}9", "line 2: expected 0 < p50_us <= p90_us"),
        (FIRST, f"{FIRST}1,", "line 2: expected 14 values, found 15"),
        ("conv,,9,1,1,1,256,256,8,16,1,", FIRST, "line 3: expected every operator once, found the operator of line 2"),
    ],
)
def test_a_row_that_is_wrong_is_named_by_its_line(path, old, new, told):
    _edit(path.with_suffix(".csv"), old, new)
    with pytest.raises(ProfileError, match=told):
        read_table(path)


def test_a_missing_row_is_missed(path):
    rows = path.with_suffix(".csv")
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(ProfileError, match="expected 64 rows, found 63"):
        read_table(path)


def test_rows_of_another_measurement_are_refused(path):
    _edit(path.with_suffix(".csv"), "conv,,9,1,1,1,256,256,8,8,1,", "conv,,9,1,1,1,256,256,8,9,1,")
    with pytest.raises(ProfileError, match="the rows that were measured"):
        read_table(path)


def test_a_table_without_rows_beside_it_is_refused(path):
    path.with_suffix(".csv").unlink()
    with pytest.raises(ProfileError, match=r"expected the operators of cpu-fp32-onnxruntime-2t\.toml"):
        read_table(path)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("schema_version = 1", "schema_version = 7", "key 'schema_version'"),
        ('target = "rpi4"', 'target = "rpi5"', "found rpi5/cpu-fp32"),
        ("threads = 2", "threads = 0", "key 'threads'"),
        ("overhead_us = 1.5", "overhead_ms = 1.5", "overhead"),
        ("[kinds.spatial]", "[kinds.pointwise]", "those of the rows, spatial"),
        ("interval_log = [-0.1, 0.08]", "interval_log = [0.1, 0.2]", "0 between them"),
    ],
)
def test_a_key_that_is_wrong_is_named(path, old, new, told):
    _edit(path, old, new)
    with pytest.raises(ProfileError, match=told):
        read_table(path)


def test_a_table_of_another_target_is_refused(path, tmp_path):
    other = tmp_path / "jetson-nano"
    (tmp_path / "rpi4").rename(other)
    with pytest.raises(ProfileError, match="expected what the path says, jetson-nano"):
        load_cost_model("jetson-nano", "cpu", "fp32", folder=tmp_path)
