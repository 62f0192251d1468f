"""Every target and profile that EdgeKD carries keeps the promises of its kind."""

import csv

import pytest

from edgekd.hardware.cost import read_profile
from edgekd.hardware.data import data_folder
from edgekd.hardware.operators import MAC_FEATURES
from edgekd.hardware.target import load_target, target_names

PROFILES = sorted(data_folder("profiles").glob("*/*.toml"))
every_target = pytest.mark.parametrize("name", target_names())
every_profile = pytest.mark.parametrize("path", PROFILES, ids=lambda path: f"{path.parent.name}/{path.stem}")


def test_there_are_targets_and_profiles():
    assert {"jetson-tx2", "rpi4"} <= set(target_names())
    assert PROFILES


@every_target
def test_a_target_is_named_as_its_file_and_cites_its_sources(name):
    target = load_target(name)
    assert target.name == name
    assert target.sources
    assert target.memory_bytes >= 2**20


@every_target
def test_every_artifact_runs_on_a_processor_of_the_target(name):
    target = load_target(name)
    for precision, kind in target.artifacts:
        processor = target.processor(kind)
        assert precision in (*processor.fast, *processor.runs)
        assert not set(processor.fast) & set(processor.runs)


@every_target
def test_tvm_compiles_for_the_cores_that_run_the_artifact(name):
    for processor in load_target(name).processors:
        described = dict(processor.tvm_target)
        if described.get("kind") == "llvm":
            assert described.get("num-cores") == processor.threads


@every_profile
def test_a_profile_belongs_to_a_processor_that_executes_its_precision(path):
    model = read_profile(path)
    processor = load_target(model.target).processor(model.processor)
    assert model.precision in (*processor.fast, *processor.runs)
    assert path.stem == f"{model.processor}-{model.precision}"
    assert model.target == path.parent.name


@every_profile
def test_a_profile_cites_sources_with_licences(path):
    model = read_profile(path)
    assert model.sources
    assert all("https://" in source for source in model.sources)
    assert all(any(name in source for name in ("Apache", "BSD", "MIT")) for source in model.sources)


@every_profile
def test_rates_are_not_negative_and_some_are_positive(path):
    rates = read_profile(path).coefficients_us
    assert min(rates) >= 0
    assert max(rates[: len(MAC_FEATURES)]) > 0


@every_profile
def test_intervals_hold_what_they_promise(path):
    model = read_profile(path)
    errors = [model.error] + ([model.energy.error] if model.energy else [])
    for error in errors:
        assert error.interval_coverage >= 0.8
        assert error.interval_log[0] < 0 < error.interval_log[1]
        assert error.families >= 2


@every_profile
def test_the_table_beside_a_profile_shows_its_errors(path):
    model = read_profile(path)
    with path.with_suffix(".csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["quantity"] == "latency_us"]
    assert len(rows) == model.error.networks
    assert len({row["family"] for row in rows}) == model.error.families
    for column, stated in (
        ("leave_one_out", model.error.median_leave_one_out),
        ("leave_family_out", model.error.median_leave_family_out),
    ):
        errors = sorted(abs(float(row[column]) / float(row["measured"]) - 1) for row in rows)
        median = (errors[(len(errors) - 1) // 2] + errors[len(errors) // 2]) / 2
        assert median == pytest.approx(stated, rel=1e-2)
