"""Every cost profile that EdgeKD carries keeps the promises of its kind, and some reach what was promised of them."""

import csv
import math
from collections import Counter

import numpy as np
import pytest

from edgekd.hardware.cost import CostModel, load_cost_model, read_profile
from edgekd.hardware.data import data_folder
from edgekd.hardware.forms import FORMS
from edgekd.hardware.operators import FEATURES
from edgekd.hardware.target import load_target

PROFILES = sorted(data_folder("profiles").glob("*/*.toml"))
# With fewer networks than these a share of them moves in steps of a tenth and more.
FEW = 10
every_profile = pytest.mark.parametrize("path", PROFILES, ids=lambda path: f"{path.parent.name}/{path.stem}")


def rows_of(path, quantity) -> list[dict[str, str]]:
    with path.with_suffix(".csv").open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["quantity"] == quantity]


def column(rows, name) -> np.ndarray:
    return np.array([float(row[name]) for row in rows])


def median_error(rows, name) -> float:
    return float(np.median(np.abs(column(rows, name) / column(rows, "measured") - 1)))


def rank_correlation(rows, name) -> float:
    return float(np.corrcoef(*(ranks(column(rows, key)) for key in ("measured", name)))[0, 1])


def ranks(values) -> np.ndarray:
    """Return the rank of each value, the mean of their ranks where some are equal."""
    _, which, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[which]


def test_there_are_profiles():
    assert PROFILES


@every_profile
def test_a_profile_belongs_to_a_processor_that_executes_its_precision(path):
    model = read_profile(path)
    processor = load_target(model.target).processor(model.processor)
    assert model.precision in (*processor.fast, *processor.runs)


@pytest.mark.parametrize("folder", sorted({path.parent for path in PROFILES}), ids=lambda path: path.name)
def test_exactly_one_profile_of_a_processor_and_precision_is_preferred(folder):
    models = [read_profile(path) for path in PROFILES if path.parent == folder]
    kinds = {(model.processor, model.precision) for model in models}
    preferred = Counter((model.processor, model.precision) for model in models if model.is_preferred)
    assert preferred == Counter(kinds)


@every_profile
def test_a_profile_is_loaded_by_what_its_file_is_named_after(path):
    model = read_profile(path)
    found = load_cost_model(
        model.target, model.processor, model.precision, runtime=model.runtime, threads=model.threads
    )
    assert found == model


@every_profile
def test_a_profile_cites_sources_with_licences(path):
    model = read_profile(path)
    assert all("https://" in source for source in model.sources)
    assert all(any(name in source for name in ("Apache", "BSD", "MIT")) for source in model.sources)


@every_profile
def test_rates_are_not_negative_and_no_wide_layer_is_free(path):
    model = read_profile(path)
    assert model.form in FORMS
    assert min(model.coefficients_us) >= 0
    rates = dict(zip(FEATURES, model.coefficients_us, strict=True))
    # What most MACs are in is never free.
    assert min(rates[name] for name in ("pointwise_gmacs", "spatial_gmacs", "winograd_gmacs")) > 0


@every_profile
def test_a_profile_has_the_form_of_least_error_or_one_as_good(path):
    model = read_profile(path)
    tried = dict(model.forms_tried)
    assert model.chosen_form.startswith(model.form)
    assert tried[model.chosen_form] <= min(tried.values()) + 0.01 + 1e-4
    assert tried[model.chosen_form] == pytest.approx(model.error.median_leave_one_out, rel=1e-3)


@every_profile
def test_intervals_hold_about_what_they_promise_on_families_they_were_not_made_from(path):
    model = read_profile(path)
    for error in [model.error] + ([model.energy.error] if model.energy else []):
        assert error.interval_log[0] < 0 < error.interval_log[1]
        assert error.families >= 2
        # Fewer than ten networks may lie one beside the range.
        beside = 1 / error.networks if error.networks < FEW else 0.0
        assert 0.70 - beside <= error.interval_coverage <= 0.95 + beside


@every_profile
def test_the_table_beside_a_profile_names_each_network_once(path):
    for quantity in ("latency_us", "energy_uj"):
        names = [row["network"] for row in rows_of(path, quantity)]
        assert len(names) == len(set(names))


@every_profile
def test_the_table_beside_a_profile_shows_its_errors(path):
    model = read_profile(path)
    quantities = {"latency_us": model.error} | ({"energy_uj": model.energy.error} if model.energy else {})
    for quantity, error in quantities.items():
        rows = rows_of(path, quantity)
        assert len(rows) == error.networks
        for name in ("leave_one_out", "leave_family_out"):
            assert median_error(rows, name) == pytest.approx(getattr(error, f"median_{name}"), rel=1e-2)
            assert rank_correlation(rows, name) == pytest.approx(getattr(error, f"spearman_{name}"), abs=0.01)
    if model.energy is not None:
        stated = model.energy.median_given_measured_latency
        assert median_error(rows_of(path, "energy_uj"), "given_latency") == pytest.approx(stated, rel=2e-2)


@every_profile
def test_the_table_beside_a_profile_shows_its_interval_and_what_it_holds(path):
    model = read_profile(path)
    rows = rows_of(path, "latency_us")
    families = np.array([row["family"] for row in rows])
    sizes = np.abs(np.log(column(rows, "measured") / column(rows, "leave_family_out")))

    def bound(of) -> float:
        return float(np.sort(of)[min(len(of), math.ceil(0.8 * (len(of) + 1))) - 1])

    assert len(set(families)) == model.error.families
    assert model.error.interval_log == pytest.approx((-bound(sizes), bound(sizes)), rel=1e-3, abs=1e-4)
    held = sum((sizes[families == name] <= bound(sizes[families != name]) + 1e-9).sum() for name in set(families))
    # Five digits in the table may put one network on the other side of a bound.
    assert held / len(rows) == pytest.approx(model.error.interval_coverage, abs=1.01 / len(rows))


@pytest.mark.parametrize(
    ("target", "processor", "precision", "runtime", "threads", "most"),
    [
        ("jetson-tx2-nx", "gpu", "fp16", "ncnn-vulkan", None, 0.08),
        ("jetson-tx2-nx", "cpu", "fp32", "ncnn", 1, 0.06),
        ("rpi4", "cpu", "fp32", "ncnn", 1, 0.06),
        ("rpi5", "cpu", "fp16", "ncnn", 4, 0.12),
        ("rpi4", "cpu", "fp32", "tflite", None, 0.05),
        ("rpi4", "cpu", "int8", "tflite", None, 0.05),
        ("jetson-nano", "gpu", "fp16", "tensorrt", None, 0.06),
        ("jetson-tx2", "gpu", "fp16", "tensorrt", None, 0.10),
    ],
)
def test_unseen_networks_are_predicted_as_well_as_promised(target, processor, precision, runtime, threads, most):
    model = load_cost_model(target, processor, precision, runtime=runtime, threads=threads)
    assert isinstance(model, CostModel)
    assert (model.runtime, model.threads) == (runtime, threads)
    assert model.error.median_leave_one_out <= most
    assert model.error.spearman_leave_one_out >= 0.9


@every_profile
def test_energy_of_a_cpu_given_its_latency_is_right_to_4_percent_and_says_what_it_includes(path):
    energy = read_profile(path).energy
    if energy is None or path.stem.startswith("gpu"):
        pytest.skip("nobody measured the energy of a CPU here")
    assert energy.median_given_measured_latency <= 0.04
    assert "wall power of the whole board" in energy.includes


def test_every_profile_stands_in_the_page_about_them():
    page = data_folder("profiles").parent / "docs" / "profiles.md"
    if not page.is_file():
        pytest.skip("the page is not installed with the package")
    text = page.read_text(encoding="utf-8")
    latency = text.split("## Latency")[1].split("## Energy")[0]
    for path in PROFILES:
        model = read_profile(path)
        name = f"**{path.stem}**" if model.is_preferred else path.stem
        error = f"{model.error.median_leave_one_out * 100:.1f} %"
        line = next(line for line in latency.splitlines() if line.startswith(f"| {model.target} | {name} |"))
        assert error in line
        assert model.chosen_form in line
