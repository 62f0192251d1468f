import dataclasses
import math

import numpy as np
import pytest

from edgekd.hardware.cost import (
    CostModel,
    EnergyModel,
    Operators,
    latency_by_operator_us,
    predict_cost,
    predict_energy_uj,
    predict_latency_us,
)
from edgekd.hardware.operators import FEATURES, MAC_FEATURES
from edgekd.hardware.profile import Coverage, HeldOutError

RATES = {"winograd_gmacs": 5000.0, "activation_melements": 200.0, "compute_launches": 30.0, "other_launches": 7.0}
INSIDE = (-0.1, 0.2)
OUTSIDE = (-0.05, 0.5)


def network(*widths: int) -> Operators:
    """3x3 convolution w->w on 32x32 and a 2x2 pool, one plan for each width."""
    channels = np.array([[width, width] for width in widths])
    return Operators(
        names=("conv", "pool"),
        op=("conv", "pool"),
        kernel_area=np.array([9, 4]),
        stride=np.array([1, 2]),
        groups=np.array([1, 1]),
        in_pixels=np.array([1024, 1024]),
        out_pixels=np.array([1024, 256]),
        inputs=np.array([1, 1]),
        in_channels=channels,
        out_channels=channels,
    )


def latency_us(width: int) -> float:
    gmacs = 9 * width * width * 1024 / 1e9
    melements = width * (1024 + 1024 + 1024 + 256) / 1e6
    return 5000 * gmacs + 200 * melements + 30 + 7


def coverage(*, share: float = 1.0, top_latency_us: float = 1000.0) -> Coverage:
    return Coverage(
        gmacs=(9 * 16 * 16 * 1024 / 1e9, 9 * 64 * 64 * 1024 / 1e9),
        latency_us=(10.0, top_latency_us),
        max_share=tuple((name, share) for name in MAC_FEATURES),
    )


def model(*, share: float = 1.0, top_latency_us: float = 1000.0, measured_precision="fp32", form="linear") -> CostModel:
    error = HeldOutError(
        networks=10,
        families=3,
        median_leave_one_out=0.05,
        median_leave_family_out=0.08,
        spearman_leave_one_out=0.95,
        spearman_leave_family_out=0.9,
        interval_log=INSIDE,
        interval_coverage=0.8,
        outside_log=OUTSIDE,
    )
    span = coverage(share=share, top_latency_us=top_latency_us)
    return CostModel(
        target="board",
        processor="cpu",
        precision="fp32",
        runtime="a-runtime",
        runtime_version="a runtime 2.0",
        measured_on="a board",
        threads=1,
        is_preferred=True,
        form=form,
        chosen_form=form,
        forms_tried=((form, 0.05),),
        median_form_chosen_unseen=0.06,
        coefficients_us=tuple(RATES.get(name, 0.0) for name in FEATURES),
        coverage=span,
        error=error,
        energy=EnergyModel(
            includes="the wall",
            measured_precision=measured_precision,
            power_w=2.0,
            uj_per_gmac=1000.0,
            uj_per_melement=50.0,
            median_given_measured_latency=0.01,
            coverage=span,
            error=error,
        ),
        checks=(),
        notes=(),
        sources=("a table",),
    )


def test_latency_is_the_sum_of_rates_times_features_for_each_plan():
    predicted = predict_latency_us(model(), network(16, 24, 64))
    assert predicted == pytest.approx([latency_us(16), latency_us(24), latency_us(64)])


@pytest.mark.parametrize("form", ["linear", "roofline"])
def test_the_latencies_of_operators_add_up_to_that_of_their_plan(form):
    operators = network(16, 24, 64)
    parts = latency_by_operator_us(model(form=form), operators)
    assert parts.shape == (3, 2)
    assert parts.sum(axis=1) == pytest.approx(predict_latency_us(model(form=form), operators))


def test_a_roofline_is_faster_than_the_sum_of_its_parts():
    operators = network(16, 24, 64)
    assert (predict_latency_us(model(form="roofline"), operators) < predict_latency_us(model(), operators)).all()


def test_energy_is_power_times_latency_plus_work():
    width = 24
    gmacs = 9 * width * width * 1024 / 1e9
    melements = (9 * width * width + width + width * (1024 + 1024 + 1024 + 256)) / 1e6
    expected = 2.0 * latency_us(width) + 1000 * gmacs + 50 * melements
    assert predict_energy_uj(model(), network(width)) == pytest.approx([expected])


def test_wider_plans_cost_more():
    operators = network(*range(8, 128, 8))
    assert (np.diff(predict_latency_us(model(), operators)) > 0).all()
    assert (np.diff(predict_energy_uj(model(), operators)) > 0).all()


def test_energy_that_was_never_published_is_not_invented():
    silent = dataclasses.replace(model(), energy=None)
    with pytest.raises(ValueError, match="not known"):
        predict_energy_uj(silent, network(16))
    assert predict_cost(silent, network(16)).energy_uj is None


def test_without_a_model_only_what_can_be_counted_is_known():
    cost = predict_cost(None, network(16))
    assert (cost.macs, cost.parameters) == (9 * 16 * 16 * 1024, 9 * 16 * 16 + 16)
    assert cost.latency_us is None
    assert cost.energy_uj is None


def test_cost_of_a_plan_is_that_of_its_index():
    cost = predict_cost(model(), network(16, 32), index=1)
    assert cost.macs == 9 * 32 * 32 * 1024
    assert cost.latency_us is not None
    assert cost.latency_us.value == pytest.approx(latency_us(32))


def test_a_covered_network_gets_the_held_out_interval():
    prediction = predict_cost(model(), network(32)).latency_us
    assert prediction is not None
    assert not prediction.extrapolated
    assert prediction.low == pytest.approx(latency_us(32) * math.exp(INSIDE[0]))
    assert prediction.high == pytest.approx(latency_us(32) * math.exp(INSIDE[1]))


def test_beyond_the_measured_macs_the_interval_grows_with_the_distance():
    # Twice the width of the largest network has four times its MACs.
    prediction = predict_cost(model(top_latency_us=1e9), network(128)).latency_us
    assert prediction is not None
    assert prediction.extrapolated
    growth = 1 + math.log(4)
    assert prediction.low == pytest.approx(latency_us(128) * math.exp(INSIDE[0] * growth))
    assert prediction.high == pytest.approx(latency_us(128) * math.exp(OUTSIDE[1] * growth))


def test_beyond_the_measured_latency_is_extrapolated_too():
    prediction = predict_cost(model(top_latency_us=20.0), network(32)).latency_us
    assert prediction is not None
    assert prediction.extrapolated
    assert prediction.high == pytest.approx(
        latency_us(32) * math.exp(OUTSIDE[1] * (1 + math.log(latency_us(32) / 20.0)))
    )


def test_a_network_unlike_any_measured_one_is_extrapolated_at_its_size():
    # All its MACs are in 3x3 convolutions, of which no measured network had more than half.
    prediction = predict_cost(model(share=0.5), network(32)).latency_us
    assert prediction is not None
    assert prediction.extrapolated
    assert prediction.high == pytest.approx(latency_us(32) * math.exp(OUTSIDE[1]))


def test_energy_measured_in_another_precision_is_extrapolated():
    cost = predict_cost(model(measured_precision="fp16"), network(32))
    assert cost.latency_us is not None
    assert cost.energy_uj is not None
    assert not cost.latency_us.extrapolated
    assert cost.energy_uj.extrapolated


def test_a_prediction_says_what_it_was_fitted_to():
    cost = predict_cost(model(), network(32))
    assert cost.latency_us is not None
    assert cost.energy_uj is not None
    assert cost.latency_us.origin == "fitted"
    assert cost.latency_us.source == "fitted to 10 networks measured with a runtime 2.0 on a board, 1 thread"
    assert cost.energy_uj.source.endswith("; the wall")
