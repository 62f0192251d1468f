import dataclasses

import numpy as np
import pytest

from edgekd.hardware.forms import FORMS, latency_by_operator_us
from edgekd.hardware.operators import FEATURES, Operators


def two_operators(*widths: int) -> Operators:
    """A 1x1 convolution w->w on 4x4 and a 2x2 pool of it, one plan for each width."""
    channels = np.array([[width, width] for width in widths])
    return Operators(
        names=("conv", "pool"),
        op=("conv", "pool"),
        kernel_area=np.array([1, 4]),
        stride=np.array([1, 2]),
        groups=np.array([1, 1]),
        in_pixels=np.array([16, 16]),
        out_pixels=np.array([16, 4]),
        inputs=np.array([1, 1]),
        in_channels=channels,
        out_channels=channels,
    )


# A nanosecond a MAC, 20 an activation, 1 a weight; a launch of a convolution 3 us, of a pool 1 us.
RATES = {
    "pointwise_gmacs": 1e6,
    "activation_melements": 0.02e6,
    "weight_melements": 0.001e6,
    "compute_launches": 3.0,
    "other_launches": 1.0,
}
COEFFICIENTS = tuple(RATES.get(name, 0.0) for name in FEATURES)


def parts_us(width: int) -> tuple[float, float, float]:
    macs = 16 * width * width
    moving = 0.02 * (16 + 16) * width + 0.001 * (width * width + width)
    return macs * 0.001, moving, 0.02 * (16 + 4) * width


@pytest.mark.parametrize("width", [8, 64], ids=["moving takes longer", "computing takes longer"])
def test_a_roofline_takes_the_slower_of_computing_and_moving_for_each_operator(width):
    compute, moving, pool = parts_us(width)
    assert (compute > moving) == (width == 64)
    found = latency_by_operator_us("roofline", COEFFICIENTS, two_operators(width))
    assert found == pytest.approx(np.array([[max(compute, moving) + 3.0, pool + 1.0]]))


def test_a_linear_model_adds_them():
    compute, moving, pool = parts_us(8)
    found = latency_by_operator_us("linear", COEFFICIENTS, two_operators(8))
    assert found == pytest.approx(np.array([[compute + moving + 3.0, pool + 1.0]]))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_costs_plans_independently_of_each_other(form):
    together = latency_by_operator_us(form, COEFFICIENTS, two_operators(8, 24, 64))
    alone = [latency_by_operator_us(form, COEFFICIENTS, two_operators(width))[0] for width in (8, 24, 64)]
    assert together == pytest.approx(np.array(alone))


@pytest.mark.parametrize("form", FORMS)
def test_more_work_never_takes_less_time_in_any_form(form):
    found = latency_by_operator_us(form, COEFFICIENTS, two_operators(*range(4, 128, 4))).sum(axis=1)
    assert (np.diff(found) > 0).all()


@pytest.mark.parametrize("form", FORMS)
def test_a_norm_that_is_not_folded_moves_its_values_and_is_no_launch(form):
    scale = dataclasses.replace(two_operators(8), op=("scale", "pool"))
    stored = 8 * 1  # one value a channel
    assert latency_by_operator_us(form, COEFFICIENTS, scale)[0, 0] == pytest.approx(0.001 * stored)
