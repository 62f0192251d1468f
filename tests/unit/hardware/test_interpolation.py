import numpy as np
import pytest
from staircase import GRID, convolutions, staircase_us

from edgekd.hardware.interpolation import LEAST_US, OperatorList, kind_model, operator_times_us, uncovered
from edgekd.hardware.operators import Operators
from edgekd.profiling.fit import fit_kinds


@pytest.fixture(scope="module")
def fitted():
    return fit_kinds(OperatorList.of(GRID), staircase_us(GRID))


def test_a_row_is_predicted_as_it_was_measured(fitted):
    assert operator_times_us(fitted, GRID)[0] == pytest.approx(staircase_us(GRID), rel=0.05)


def test_between_the_rows_the_law_is_corrected(fitted):
    between = convolutions([(20, 24), (44, 40), (52, 64), (36, 16)])
    expected = staircase_us(between)
    law_only = kind_model(
        OperatorList.of(GRID),
        staircase_us(GRID),
        rates_us=fitted["spatial"].rates_us,
        variance=1e-9,
        noise=1.0,
        lengths=fitted["spatial"].lengths,
    )
    errors = np.abs(operator_times_us(fitted, between)[0] / expected - 1)
    without = np.abs(operator_times_us({"spatial": law_only}, between)[0] / expected - 1)
    assert errors.max() < 0.1
    assert np.median(errors) < np.median(without)


def test_every_plan_is_predicted_as_if_it_were_alone(fitted):
    widths = np.array([[8, 16, 24], [64, 56, 8], [8, 16, 24]])
    plans = convolutions([(8, 8)] * 3)
    together = Operators(
        **{name: getattr(plans, name) for name in plans.__slots__}
        | {
            "in_channels": widths,
            "out_channels": widths[:, ::-1].copy(),
        }
    )
    alone = [operator_times_us(fitted, together.plan(index))[0] for index in range(3)]
    assert operator_times_us(fitted, together) == pytest.approx(np.stack(alone))


def test_operators_near_rows_are_covered_and_others_are_not(fitted):
    assert not uncovered(fitted, convolutions([(24, 40)])).any()
    assert uncovered(fitted, convolutions([(24, 40)], side=500)).all()


def test_a_kind_without_rows_is_not_covered_and_has_no_time(fitted):
    pools = convolutions([(16, 16)], op="pool", kernel=4)
    assert uncovered(fitted, pools).all()
    assert operator_times_us(fitted, pools).tolist() == [[0.0]]


def test_first_layers_and_pointwise_ones_are_kinds_of_their_own():
    kinds = [OperatorList.of(convolutions([(read, 16)], kernel=kernel)).kind[0] for read, kernel in ((3, 9), (8, 1))]
    assert kinds == ["stem", "pointwise"]


def test_operators_that_were_fused_away_keep_logarithms_finite():
    adds = convolutions([(8, 8), (16, 16), (24, 24)], op="add", kernel=1)
    models = fit_kinds(OperatorList.of(adds), np.full(3, LEAST_US))
    assert operator_times_us(models, adds) == pytest.approx(np.full((1, 3), LEAST_US), rel=0.1)
