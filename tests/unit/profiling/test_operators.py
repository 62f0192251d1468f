"""Operators are measured inside of networks, kept as they come in, and become a table with its own error."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from staircase import convolutions, staircase_us
from torch import nn

from edgekd.cli.app import run
from edgekd.errors import ConnectionLostError, InputError
from edgekd.hardware.cost import load_cost_model, predict_cost
from edgekd.hardware.table_files import read_table
from edgekd.models.load import from_module
from edgekd.profiling.attribution import Shares, attribute
from edgekd.profiling.connection import connect
from edgekd.profiling.journal import Entry, Journal, set_aside
from edgekd.profiling.operators import OperatorSettings, build_table, measure_operators
from edgekd.profiling.place import Place
from edgekd.profiling.subjects import model_subjects, suite_subject
from edgekd.profiling.table import fit_table, measuring_overhead_us

MOST_MACS = 1e6
SETTINGS = OperatorSettings(precisions=("fp32",), networks=24, checks=8, until=0.0, warmup_s=0.0, max_s=0.02)
(FP32,) = SETTINGS.each
DEVICE = {"board": "a board", "onnxruntime": "1.27.0"}


def node(name: str, microseconds: float) -> dict[str, object]:
    return {"name": name, "p50_us": microseconds, "p90_us": microseconds, "p99_us": microseconds}


def entry(name: str, widths: list[tuple[int, int]], *, slowed: float = 1.0, overhead_us: float = 2.0) -> Entry:
    """A network of convolutions as the made-up device runs it, with what the profile adds to each."""
    operators = convolutions(widths)
    times = staircase_us(operators) * slowed
    return Entry(
        network=name,
        is_check=False,
        setting=FP32,
        runtime="onnxruntime 1.27.0",
        latency_us=float(times.sum()),
        is_stable=True,
        operators=operators,
        shares=Shares(times_us=np.stack([times + overhead_us] * 3), nodes=np.ones(len(times), dtype=np.int64)),
        governors=(),
        warnings=(),
    )


def random_entry(seed: int) -> Entry:
    drawn = np.random.default_rng(seed).integers(1, 10, size=(6, 2)) * 8
    return entry(f"n{seed}", [(int(read), int(made)) for read, made in drawn])


# Whose time it is


def test_time_belongs_to_the_operator_a_node_is_named_after():
    shares = attribute([node("conv/_1_nchwc", 5), node("fc/_2", 3)], {"conv": "conv", "fc": "fc"}, ("conv", "fc"))
    assert shares.times_us.tolist() == [[5, 3]] * 3
    assert shares.nodes.tolist() == [1, 1]


def test_an_activation_belongs_to_what_it_follows_and_a_quantizer_to_what_it_quantizes():
    owners = {"conv": "conv", "relu": "conv", "add": "add"}
    ran = [node("relu/_1", 5), node("quantizer_relu/_3", 2), node("quantizer_add/_9_token", 1)]
    assert attribute(ran, owners, ("conv", "add")).times_us[0].tolist() == [7, 1]


def test_what_the_runtime_adds_belongs_to_the_operator_before_it_and_at_the_start_to_the_first():
    ran = [node("Transpose", 1), node("conv/_1", 5), node("ReorderOutput_token_2", 2), node("fc/_2", 3)]
    assert attribute(ran, {"conv": "conv", "fc": "fc"}, ("conv", "fc")).times_us[0].tolist() == [8, 3]


def test_an_operator_that_was_fused_away_has_no_node():
    shares = attribute([node("conv/_1", 5)], {"conv": "conv", "add": "add"}, ("conv", "add"))
    assert shares.nodes.tolist() == [1, 0]


# The networks


def test_the_same_number_is_the_same_network_and_others_are_others():
    first, again, other = (suite_subject(number, most_macs=MOST_MACS).onnx("fp32") for number in (3, 3, 4))
    assert first == again
    assert first != other


@pytest.mark.parametrize("number", range(6))
def test_a_network_of_the_suite_keeps_its_size_and_names_its_operators(number):
    subject = suite_subject(number, most_macs=2e7)
    assert 2e7 / 100 < subject.operators.macs.sum() < 2e7 * 1.5
    owners = subject.owners()
    for precision in ("fp32", "int8"):
        nodes = onnx.load_model_from_string(subject.onnx(precision)).graph.node
        computing = [n.name.partition("/")[0] for n in nodes if n.op_type in ("Conv", "Gemm", "Add", "Concat")]
        assert computing
        assert {owners[name] for name in computing} <= set(subject.operators.names)


def test_networks_for_a_model_are_itself_and_others_of_the_widths_a_search_may_choose():
    module = nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 24, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(24, 5),
    )  # fmt: skip
    source = model_subjects(from_module(module, (torch.zeros(2, 3, 8, 8),)), "a" * 64, 8)
    subjects = [source(number) for number in range(8)]
    made = [subject.operators.columns()["out_channels"].tolist() for subject in subjects]
    assert made[0] == [32, 24, 24, 24, 5]
    assert {widths[0] for widths in made} <= {8, 16, 24, 32}
    assert {widths[1] for widths in made} <= {8, 16, 24}
    assert len({tuple(widths) for widths in made}) > 4
    assert source(3).name == subjects[3].name
    assert {subject.name[:12] for subject in subjects} == {"a" * 12}


def test_a_model_of_few_plans_has_no_table_of_its_own(tmp_path):
    module = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5))
    source = model_subjects(from_module(module, (torch.zeros(2, 3, 8, 8),)), "a" * 64, 8)
    with pytest.raises(InputError) as caught:
        measure_operators([], source, Journal(tmp_path / "ops.jsonl", DEVICE), SETTINGS, lambda *_: None)
    assert (caught.value.where, caught.value.found) == ("--for", "4")


# The journal


def test_the_journal_is_read_back(tmp_path):
    journal = Journal(tmp_path / "host" / "ops.jsonl", DEVICE)
    journal.add(entry("a", [(8, 16), (16, 24)]))
    again = Journal(journal.path, DEVICE).entries[0]
    assert (again.network, again.setting, again.latency_us) == ("a", FP32, journal.entries[0].latency_us)
    assert again.operators.columns()["out_channels"].tolist() == [16, 24]
    assert again.shares.times_us == pytest.approx(journal.entries[0].shares.times_us)


def test_a_line_that_was_cut_is_dropped_and_the_rest_kept(tmp_path):
    journal = Journal(tmp_path / "ops.jsonl", DEVICE)
    journal.add(entry("a", [(8, 16)]))
    whole = journal.path.read_text()
    journal.path.write_text(whole + '{"network": "b", "prec')
    assert [found.network for found in Journal(journal.path, DEVICE).entries] == ["a"]
    assert journal.path.read_text() == whole


def test_measurements_of_other_software_are_not_mixed(tmp_path):
    Journal(tmp_path / "ops.jsonl", DEVICE)
    with pytest.raises(InputError, match=r"onnxruntime '1\.27\.0'.*--restart"):
        Journal(tmp_path / "ops.jsonl", DEVICE | {"onnxruntime": "1.28.0"})


def test_the_fastest_round_counts(tmp_path):
    journal = Journal(tmp_path / "ops.jsonl", DEVICE)
    for slowed in (1.5, 1.0, 1.2):
        journal.add(entry("a", [(8, 16)], slowed=slowed))
    best = journal.best(FP32, is_check=False)
    assert [found.latency_us for found in best] == [min(found.latency_us for found in journal.entries)]


# The table


def test_what_the_profile_adds_is_found_and_taken_off():
    entries = [random_entry(seed) for seed in range(24)]
    assert measuring_overhead_us(entries) == pytest.approx(2.0)
    rows = fit_table(entries, [random_entry(100 + seed) for seed in range(8)]).rows
    assert rows.p50_us == pytest.approx(staircase_us(rows.operators), abs=2e-3)


def test_the_error_is_that_of_networks_the_table_has_not_seen():
    entries, unseen = [random_entry(seed) for seed in range(40)], [random_entry(100 + seed) for seed in range(12)]
    good = fit_table(entries, unseen).check
    slowed = [dataclasses.replace(one, latency_us=1.3 * one.latency_us) for one in unseen]
    bad = fit_table(entries, slowed).check
    assert good.median_error < 0.05
    assert bad.median_error == pytest.approx(1 - 1 / 1.3, abs=0.05)
    assert bad.cross_validation_median == good.cross_validation_median
    assert bad.interval_log[1] > good.interval_log[1]
    assert bad.interval_coverage < good.interval_coverage


def test_a_runtime_without_a_profile_is_divided_by_the_law_that_fits_the_wholes():
    def whole(seed: int) -> Entry:
        found = random_entry(seed)
        nothing = Shares(times_us=np.zeros((3, 6)), nodes=np.zeros(6, dtype=np.int64))
        return dataclasses.replace(found, shares=nothing)

    fitted = fit_table([whole(seed) for seed in range(60)], [whole(100 + seed) for seed in range(12)])
    assert fitted.overhead_us == 0
    assert fitted.check.median_error < 0.1


# On this machine


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables of tiny networks, measured here: the connection is cut in the middle, then the command is repeated."""
    folder = tmp_path_factory.mktemp("profiles")
    path = folder / "host" / "operators.jsonl"

    def cut(done: int, _total: int, _text: str) -> None:
        if done >= 16:
            device._process.kill()

    with connect(Place(kind="local")) as device:
        journal = Journal(path, device.fingerprint)
        with pytest.raises(ConnectionLostError, match="repeat the command"):
            measure_operators([device], _subjects, journal, SETTINGS, cut)
    measured = path.read_text()
    with connect(Place(kind="local")) as device:
        journal = Journal(path, device.fingerprint)
        measure_operators([device], _subjects, journal, SETTINGS, lambda *_: None)
    assert path.read_text().startswith(measured)
    assert measured.count("\n") > 2 * 16
    return folder


def _subjects(number: int):
    return suite_subject(number, most_macs=MOST_MACS)


def _command(folder: Path, *more: str) -> list[str]:
    sizes = ("--networks", "24", "--checks", "8", "--most-macs", "1e6", "--until", "0")
    return ["profile", "ops", "--target", "host", "--threads", "1", *sizes, "--out", str(folder), *more]


def test_what_was_measured_before_the_connection_was_lost_is_not_measured_again(folder):
    lines = (folder / "host" / "operators.jsonl").read_text().splitlines()[1:]
    entries = [json.loads(line) for line in lines]
    rounds: dict[tuple[str, str], int] = {}
    for found in entries:
        key = (found["network"], found["precision"])
        rounds[key] = rounds.get(key, 0) + 1
    assert len(rounds) == 24 + 8
    assert set(rounds.values()) <= {2, 3, 4, 5}


def test_the_command_goes_on_from_the_journal_and_writes_the_table(folder, capsys):
    before = (folder / "host" / "operators.jsonl").read_bytes()
    assert run(_command(folder, "--precision", "fp32", "--json")) == 0
    assert (folder / "host" / "operators.jsonl").read_bytes() == before
    document = json.loads(capsys.readouterr().out)
    for found in document["tables"]:
        table = read_table(Path(found["path"]))
        assert (table.networks, len(table.check.networks)) == (24, 8)
        assert table.precision == found["precision"]
        assert all("random 1000" in network.name for network in table.check.networks)


def test_predictions_for_the_target_come_from_the_table(folder, monkeypatch, capsys):
    monkeypatch.setenv("EDGEKD_PROFILES", str(folder))
    assert run(_command(folder, "--precision", "fp32", "-q")) == 0
    assert "8 other networks" in capsys.readouterr().out
    network = suite_subject(77, most_macs=MOST_MACS).operators
    found = predict_cost(load_cost_model("host", "cpu", "fp32"), network).latency_us
    assert found.origin == "measured"
    assert 0 < found.low < found.value < found.high


def test_a_fresh_start_keeps_the_old_measurements_beside_the_new(tmp_path):
    path = tmp_path / "operators.jsonl"
    for content in ("first", "second"):
        path.write_text(content)
        set_aside(path)
    assert sorted(found.read_text() for found in tmp_path.iterdir()) == ["first", "second"]
    assert not path.exists()


def test_the_table_tells_device_and_settings(folder):
    with connect(Place(kind="local")) as device:
        table = build_table(
            device, Journal(folder / "host" / "operators.jsonl", device.fingerprint), "host", FP32, SETTINGS
        )
    assert table.device["onnxruntime"] == device.fingerprint["onnxruntime"]
    assert (table.precision, table.threads, table.settings["max_s"]) == ("fp32", 1, "0.02")
    assert table.runtime_version == f"onnxruntime {device.fingerprint['onnxruntime']}"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--networks", "8"), ("--networks", "at least 24", "8")),
        (("--checks", "2"), ("--checks", "at least 8", "2")),
        (("--threads", "0"), ("--threads", "at least 1", "0")),
        (("--until", "1.5"), ("--until", "a share from 0 to 1", "1.5")),
        (("--precision", "int4"), ("--precision", "int8")),
        (("--most-macs", "3"), ("--most-macs", "from 1e6 to 1e11", "3")),
        (("--target", "rpi44"), ("rpi44", "rpi4")),
        (("--for", "nothing.pt2"), ("nothing.pt2",)),
    ],
)
def test_options_that_make_no_sense_are_refused(arguments, told, tmp_path, capsys):
    assert run(["profile", "ops", "--target", "host", "--out", str(tmp_path), *arguments]) == 2
    error = capsys.readouterr().err
    assert all(part in error for part in told)
