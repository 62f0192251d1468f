"""The fit behind `profiles/`, on made-up networks and, where it lies beside the checkout, on the data itself."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
DEVICE_DATA = CHECKOUT.parent / "shared" / "device-data"
EDGES = [[4, 0, 0, 4, 0, 4], [3, 4, 1, 2, 4, 1], [4] * 6, [3] * 6, [2, 3, 4, 1, 3, 4], [1, 4, 4, 3, 0, 2]]


@pytest.fixture
def tools(monkeypatch):
    """Return a function that imports a module of the tools, which are not installed with the package."""
    if not (CHECKOUT / "tools" / "fit_profiles.py").is_file():
        pytest.skip("the tools are not installed with the package")
    monkeypatch.syspath_prepend(str(CHECKOUT / "tools"))
    yield importlib.import_module
    for name in [name for name in sys.modules if name.split(".")[0] in ("fit_profiles", "profile_fitting")]:
        del sys.modules[name]


def test_the_largest_nas_bench_201_network_has_its_published_macs(tools):
    nas_bench = tools("profile_fitting.nas_bench")
    # Stem 3->16, three stages of 5 cells with six 3x3 convolutions C->C, two reductions C->2C->2C with a 1x1
    # shortcut, head 64->10; every stage halves the side and doubles C, so that its cells cost the same.
    stem = 9 * 3 * 16 * 32**2
    stage = 5 * 6 * 9 * 16 * 16 * 32**2
    reduction = (9 * 16 * 32 + 9 * 32 * 32 + 16 * 32) * 16**2
    operators = nas_bench.nas_bench_201([4] * 6)
    assert operators.macs.sum() == stem + 3 * stage + 2 * reduction + 64 * 10
    assert operators.macs.sum() == pytest.approx(220.1e6, rel=1e-3)  # Dong and Yang 2020


def test_edges_that_do_not_reach_the_output_cost_nothing(tools):
    nas_bench = tools("profile_fitting.nas_bench")
    # 0->3 by a 3x3 convolution; 0->1 is a 3x3 convolution that leads nowhere.
    dead = nas_bench.nas_bench_201([4, 0, 0, 4, 0, 0])
    alone = nas_bench.nas_bench_201([0, 0, 0, 4, 0, 0])
    assert dead.macs.sum() == alone.macs.sum()
    assert len(dead.op) == len(alone.op)


def made_up_networks(tools, form="linear", *, rates, factor=1.0):
    """Return networks of six families at two sizes that cost exactly what the rates say, times a factor."""
    networks, nas_bench = tools("profile_fitting.networks"), tools("profile_fitting.nas_bench")
    forms, features = tools("edgekd.hardware.forms"), tools("edgekd.hardware.operators").FEATURES
    coefficients = [rates.get(name, 0.0) for name in features]
    made = []
    for index, edges in enumerate(EDGES):
        for side in (16, 32):
            operators = nas_bench.nas_bench_201(edges, side=side)
            latency = forms.latency_by_operator_us(form, coefficients, operators).sum()
            made.append(
                networks.Measured(
                    name=f"{index} at {side}",
                    family=str(index),
                    architecture=str(index),
                    operators=operators,
                    latency_us=float(latency) * factor,
                )
            )
    return made


DENSE = dict.fromkeys(("pointwise_gmacs", "spatial_gmacs", "winograd_gmacs", "stem_gmacs", "linear_gmacs"), 5000.0)
LINEAR = {**DENSE, "activation_melements": 300.0, "compute_launches": 40.0, "other_launches": 5.0}


def candidate(tools, name):
    module = tools("profile_fitting.candidates")
    return next(form for form in module.candidates("dense", "winograd") if form.name == name)


def test_a_linear_fit_finds_the_rates_that_made_the_latencies(tools):
    form = candidate(tools, "linear-dense")
    networks = made_up_networks(tools, rates=LINEAR)
    features = tools("edgekd.hardware.operators").FEATURES
    rates = dict(zip(features, form.fit(networks), strict=True))
    for name, rate in LINEAR.items():
        assert rates[name] == pytest.approx(rate, rel=1e-4)
    assert rates["weight_melements"] == 0


def test_a_roofline_fit_predicts_the_latencies_that_a_roofline_made(tools):
    form = candidate(tools, "roofline-dense")
    moved = dict.fromkeys(("activation_melements", "weight_melements"), 2000.0)
    # 3x3 convolutions of 16 channels take 0.12 us a pixel to compute and 0.06 to move, 1x1 ones 0.01 to compute.
    made = {**dict.fromkeys(DENSE, 5e4), **moved, "compute_launches": 40.0, "other_launches": 5.0}
    networks = made_up_networks(tools, "roofline", rates=made)
    measured = np.array([network.latency_us for network in networks])
    coefficients = form.fit(networks)
    # The prior pulls a little towards where the fit starts.
    assert form.predict(coefficients, networks) == pytest.approx(measured, rel=0.02)
    features = tools("edgekd.hardware.operators").FEATURES
    rates = dict(zip(features, coefficients, strict=True))
    assert rates["winograd_gmacs"] == pytest.approx(5e4, rel=0.1)
    assert rates["activation_melements"] == rates["weight_melements"] == pytest.approx(2000, rel=0.2)


@pytest.mark.parametrize("name", ["linear-winograd", "roofline-winograd"])
def test_work_that_no_network_does_is_not_free(tools, name):
    features = tools("edgekd.hardware.operators").FEATURES
    networks = made_up_networks(tools, rates=LINEAR)
    assert all(operator != "depthwise" for network in networks for operator in network.operators.op)
    assert candidate(tools, name).fit(networks)[features.index("depthwise_gmacs")] > 0


def test_rates_that_are_given_are_kept(tools):
    networks = made_up_networks(tools, rates=LINEAR)
    for name in ("linear-dense", "roofline-dense"):
        coefficients = candidate(tools, name).fit(networks, {"compute_launches": 12.5})
        features = tools("edgekd.hardware.operators").FEATURES
        assert coefficients[features.index("compute_launches")] == 12.5


def made_up_profile(tools, **fields):
    module = tools("profile_fitting.profile")
    return module.Profile(
        target="board",
        processor="cpu",
        precision="int8",
        runtime="a-runtime",
        runtime_version="a runtime",
        measured_on="a board",
        threads=1,
        is_preferred=True,
        notes=(),
        sources=("a table",),
        **fields,
    )


def test_a_held_out_network_is_seen_neither_in_the_profile_nor_in_its_base(tools, monkeypatch):
    candidates = tools("profile_fitting.candidates")
    fit, networks = tools("profile_fitting.fit"), tools("profile_fitting.networks")
    form = candidate(tools, "linear-dense")
    seen = []
    original = candidates.Candidate.fit

    def record(self, some, given=None):
        seen.append({network.family for network in some})
        return original(self, some, given)

    monkeypatch.setattr(candidates.Candidate, "fit", record)
    for source in ("launches", "rates"):
        profile = made_up_profile(
            tools,
            candidates=(form,),
            networks=made_up_networks(tools, rates=LINEAR, factor=0.5),
            base=made_up_networks(tools, rates=LINEAR),
            from_base=source,
        )
        fitter = fit.Fitter(profile, form)
        for out in profile.networks:
            seen.clear()
            fitter.predict_unseen(networks.family)([out])
            assert all(out.family not in families for families in seen)


def test_a_precision_with_few_networks_gets_the_rates_of_another_times_their_ratio(tools):
    fit = tools("profile_fitting.fit")
    form = candidate(tools, "linear-dense")
    profile = made_up_profile(
        tools,
        candidates=(form,),
        networks=made_up_networks(tools, rates=LINEAR, factor=0.5),
        base=made_up_networks(tools, rates=LINEAR),
        from_base="rates",
    )
    fitted = fit.fit_profile(profile)
    assert fitted.model.error.networks == 12
    features = tools("edgekd.hardware.operators").FEATURES
    assert fitted.model.coefficients_us[features.index("pointwise_gmacs")] == pytest.approx(2500, rel=1e-3)
    assert fitted.model.error.median_leave_family_out == pytest.approx(0, abs=1e-3)


def tried(tools, by_one, by_family):
    return tools("profile_fitting.held_out").Tried(leave_one_out=np.array(by_one), leave_family_out=np.array(by_family))


def test_the_form_of_least_error_is_chosen(tools):
    held_out = tools("profile_fitting.held_out")
    measured = np.ones(3)
    forms = [tried(tools, [1.2, 1.2, 1.2], [1.0, 1.0, 1.0]), tried(tools, [1.1, 1.1, 1.1], [2.0, 2.0, 2.0])]
    assert held_out.choose_form(measured, forms) == 1


def test_of_forms_within_a_point_the_best_on_unseen_families_is_chosen(tools):
    held_out = tools("profile_fitting.held_out")
    measured = np.ones(3)
    forms = [tried(tools, [1.100] * 3, [1.3] * 3), tried(tools, [1.109] * 3, [1.2] * 3)]
    assert held_out.choose_form(measured, forms) == 1


def test_a_form_is_chosen_unseen_by_the_other_networks(tools):
    held_out = tools("profile_fitting.held_out")
    measured = np.ones(3)
    # Without the first network the second form is better, without the others the first form is.
    forms = [tried(tools, [1.0, 1.1, 1.5], [1.0, 1.1, 1.5]), tried(tools, [2.0, 1.2, 1.2], [2.0, 1.2, 1.2])]
    # Medians without network 0: 0.3 against 0.2; without 1: 0.25 against 0.6; without 2: 0.05 against 0.6.
    assert held_out.chosen_unseen(measured, forms) == pytest.approx([2.0, 1.1, 1.5])


def test_an_interval_is_the_corrected_quantile_of_the_sizes_of_errors(tools):
    held_out = tools("profile_fitting.held_out")
    logs = np.array([0.1, -0.2, 0.3, -0.4, 0.5, -0.6, 0.7, -0.8, 0.9])
    # Nine errors: the ceil(0.8 * 10) = 8th smallest is 0.8.
    assert held_out.interval(logs) == pytest.approx((-0.8, 0.8))
    # Three: the ceil(0.8 * 4) = 4th does not exist, and the largest stands in.
    assert held_out.interval(logs[:3]) == pytest.approx((-0.3, 0.3))


def test_what_an_interval_holds_is_tested_on_families_it_was_not_made_from(tools):
    held_out = tools("profile_fitting.held_out")
    # Made from family b alone, 0.1 does not hold a's errors; made from a alone, 0.3 holds b's.
    logs, families = np.array([0.3, -0.3, 0.1, 0.1]), ["a", "a", "b", "b"]
    assert held_out.interval_coverage(logs, families) == 0.5


def test_int8_is_compared_on_the_networks_measured_in_both(tools):
    int8 = tools("profile_fitting.int8")
    floats = made_up_networks(tools, rates=LINEAR)
    quick = made_up_networks(tools, rates=LINEAR, factor=0.5)[:4]
    slow = made_up_networks(tools, rates=LINEAR, factor=1.5)[4:5]
    found = int8.compare(floats, [*quick, *slow])
    assert (found.networks, found.slower) == (5, (slow[0].name,))
    assert (found.lowest, found.median, found.highest) == pytest.approx((0.5, 0.5, 1.5))
    assert found.by_class == ()
    assert "1 of them slower in int8 (2 at 16)" in found.sentence


@pytest.mark.shared
@pytest.mark.skipif(not DEVICE_DATA.is_dir(), reason="the public measurements are not beside the checkout")
def test_profiles_are_what_the_measurements_give_and_the_same_each_time(tools, tmp_path):
    from edgekd.hardware.cost import read_profile

    # A target of every kind of fit but energy; all of them take a minute.
    for place in ("once", "twice"):
        tools("fit_profiles").main(
            ["--device-data", str(DEVICE_DATA), "--out", str(tmp_path / place), "--only", "jetson-tx2-nx"]
        )
    stored = CHECKOUT / "profiles" / "jetson-tx2-nx"
    written = sorted(path.name for path in (tmp_path / "once" / "jetson-tx2-nx").iterdir())
    assert written == sorted(path.name for path in stored.iterdir())
    for name in written:
        once, twice = (tmp_path / place / "jetson-tx2-nx" / name for place in ("once", "twice"))
        assert once.read_bytes() == twice.read_bytes()
        if name.endswith(".toml"):
            again, kept = read_profile(once), read_profile(stored / name)
            assert again.coefficients_us == pytest.approx(kept.coefficients_us, rel=1e-3)
            assert again.error.interval_log == pytest.approx(kept.error.interval_log, rel=1e-2)
