"""The fit behind `profiles/`, on made-up networks and, where it lies beside the checkout, on the data itself."""

import sys
from pathlib import Path

import numpy as np
import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
DEVICE_DATA = CHECKOUT.parent / "shared" / "device-data"


@pytest.fixture
def tools(monkeypatch):
    if not (CHECKOUT / "tools" / "fit_profiles.py").is_file():
        pytest.skip("the tools are not installed with the package")
    monkeypatch.syspath_prepend(str(CHECKOUT / "tools"))
    import fit_profiles
    import profile_fit
    import profile_sources

    yield fit_profiles, profile_fit, profile_sources
    for name in ("fit_profiles", "profile_fit", "profile_sources", "profile_text"):
        sys.modules.pop(name, None)


def test_the_largest_nas_bench_201_network_has_its_published_macs(tools):
    _, _, sources = tools
    # Stem 3->16, three stages of 5 cells with six 3x3 convolutions C->C, two reductions C->2C->2C with a 1x1
    # shortcut, head 64->10; every stage halves the side and doubles C, so that its cells cost the same.
    stem = 9 * 3 * 16 * 32**2
    stage = 5 * 6 * 9 * 16 * 16 * 32**2
    reduction = (9 * 16 * 32 + 9 * 32 * 32 + 16 * 32) * 16**2
    operators = sources.nas_bench_201([4] * 6)
    assert operators.macs.sum() == stem + 3 * stage + 2 * reduction + 64 * 10
    assert operators.macs.sum() == pytest.approx(220.1e6, rel=1e-3)  # Dong and Yang 2020


def test_edges_that_do_not_reach_the_output_cost_nothing(tools):
    _, _, sources = tools
    # 0->3 by a 3x3 convolution; 0->1 is a 3x3 convolution that leads nowhere.
    dead = sources.nas_bench_201([4, 0, 0, 4, 0, 0])
    alone = sources.nas_bench_201([0, 0, 0, 4, 0, 0])
    assert dead.macs.sum() == alone.macs.sum()
    assert len(dead.op) == len(alone.op)


def made_up_networks(sources, rate_us, launch_us):
    ops = [[4, 0, 0, 4, 0, 4], [3, 4, 1, 2, 4, 1], [4] * 6, [3] * 6, [2, 3, 4, 1, 3, 4], [1, 4, 4, 3, 0, 2]]
    networks = []
    for index, edges in enumerate(ops):
        for side in (16, 32):
            operators = sources.nas_bench_201(edges, side=side)
            launches = np.isin(operators.op, ("conv", "linear")).sum()
            networks.append(
                sources.Measured(
                    name=f"{index} at {side}",
                    family=str(index),
                    architecture=str(index),
                    operators=operators,
                    latency_us=float(rate_us * operators.macs.sum() / 1e9 + launch_us * launches),
                )
            )
    return networks


def test_a_fit_finds_the_rates_that_made_the_latencies(tools):
    _, fitting, sources = tools
    ties = (("pointwise_gmacs", "spatial_gmacs", "stem_gmacs", "linear_gmacs"), ("compute_launches",))
    networks = made_up_networks(sources, rate_us=5000.0, launch_us=40.0)
    rates = dict(zip(fitting.FEATURES, fitting.fit_latency(networks, ties), strict=True))
    assert rates["spatial_gmacs"] == pytest.approx(5000)
    assert rates["pointwise_gmacs"] == pytest.approx(5000)
    assert rates["compute_launches"] == pytest.approx(40)
    assert rates["depthwise_gmacs"] == 0


def test_a_held_out_network_is_not_seen_by_the_fit(tools):
    _, fitting, sources = tools
    networks = made_up_networks(sources, rate_us=5000.0, launch_us=40.0)
    families = [network.family for network in networks]
    seen_by = []

    def fit(seen):
        seen_by.append({network.family for network in seen})
        return np.zeros(0)

    def predict(_, out):
        assert not {network.family for network in out} & seen_by[-1]
        return np.ones(len(out))

    fitting.hold_out(networks, families, fit, predict)
    assert len(seen_by) == len(set(families))


@pytest.mark.shared
@pytest.mark.skipif(not DEVICE_DATA.is_dir(), reason="the public measurements are not beside the checkout")
def test_the_profiles_are_what_the_measurements_give(tools, tmp_path):
    from edgekd.hardware.cost import read_profile

    fit_profiles, _, _ = tools
    fit_profiles.main(["--device-data", str(DEVICE_DATA), "--out", str(tmp_path)])
    written = sorted(path.relative_to(tmp_path) for path in tmp_path.glob("*/*"))
    stored = CHECKOUT / "profiles"
    assert written == sorted(path.relative_to(stored) for path in stored.glob("*/*"))
    for path in written:
        if path.suffix == ".toml":
            again, kept = read_profile(tmp_path / path), read_profile(stored / path)
            assert again.coefficients_us == pytest.approx(kept.coefficients_us, rel=1e-3)
            assert again.error.interval_log == pytest.approx(kept.error.interval_log, rel=1e-2)
