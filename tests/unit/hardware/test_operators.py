import numpy as np
import pytest

from edgekd.hardware.operators import FEATURES, MAC_FEATURES, Operators, elements, features, features_by_operator


def tiny_network(*, middle=(8, 16)) -> Operators:
    """Stem 3->m 3x3 on 4x4, grouped conv m->8 1x1, depthwise 8 3x3 stride 2, add, pool to 1x1, linear 8->10."""
    middle = np.array(middle)
    ones = np.ones_like(middle)
    return Operators(
        names=("stem", "mix", "depthwise", "add", "pool", "head"),
        op=("conv", "conv", "depthwise", "add", "pool", "linear"),
        kernel_area=np.array([9, 1, 9, 1, 4, 1]),
        stride=np.array([1, 1, 2, 1, 1, 1]),
        groups=np.array([1, 2, 1, 1, 1, 1]),
        in_pixels=np.array([16, 16, 16, 4, 4, 1]),
        out_pixels=np.array([16, 16, 4, 4, 1, 1]),
        inputs=np.array([1, 1, 1, 2, 1, 1]),
        in_channels=np.stack([3 * ones, middle, 8 * ones, 8 * ones, 8 * ones, 8 * ones], axis=1),
        out_channels=np.stack([middle, 8 * ones, 8 * ones, 8 * ones, 8 * ones, 10 * ones], axis=1),
    )


def column(name, operators):
    return features(operators)[:, list(FEATURES).index(name)]


def test_macs_are_multiplications_for_each_output_pixel():
    expected = [
        # stem: 9 * 3 * m for each of 16 pixels; mix: m * 8 / 2 groups; depthwise: 9 * 8 for each of 4 pixels
        [9 * 3 * 8 * 16, 8 * 8 // 2 * 16, 9 * 8 * 4, 0, 0, 8 * 10],
        [9 * 3 * 16 * 16, 16 * 8 // 2 * 16, 9 * 8 * 4, 0, 0, 8 * 10],
    ]
    assert tiny_network().macs.tolist() == expected


def test_weights_count_one_bias_for_each_output_channel():
    expected = [9 * 3 * 8 + 8, 8 * 8 // 2 + 8, 9 * 8 + 8, 0, 0, 8 * 10 + 10]
    assert tiny_network().weight_elements[0].tolist() == expected


def test_inputs_of_an_addition_are_counted_twice():
    operators = tiny_network()
    assert operators.input_elements[0].tolist() == [3 * 16, 8 * 16, 8 * 16, 2 * 8 * 4, 8 * 4, 8]
    assert operators.output_elements[0].tolist() == [8 * 16, 8 * 16, 8 * 4, 8 * 4, 8, 10]


def test_macs_do_not_overflow_32_bits():
    wide = np.array([[4096]], dtype=np.int32)
    operators = Operators(
        names=("conv",),
        op=("conv",),
        kernel_area=np.array([9], dtype=np.int32),
        stride=np.array([1], dtype=np.int32),
        groups=np.array([1], dtype=np.int32),
        in_pixels=np.array([1024], dtype=np.int32),
        out_pixels=np.array([1024], dtype=np.int32),
        inputs=np.array([1], dtype=np.int32),
        in_channels=wide,
        out_channels=wide,
    )
    assert operators.macs.item() == 9 * 4096 * 4096 * 1024


def test_features_sort_macs_by_kind_of_layer():
    operators = tiny_network()
    assert column("stem_gmacs", operators) == pytest.approx([9 * 3 * 8 * 16 / 1e9, 9 * 3 * 16 * 16 / 1e9])
    # A grouped convolution is no matrix product, whatever its kernel.
    assert column("spatial_gmacs", operators) == pytest.approx([8 * 4 * 16 / 1e9, 16 * 4 * 16 / 1e9])
    assert column("pointwise_gmacs", operators).tolist() == [0, 0]
    assert column("depthwise_gmacs", operators) == pytest.approx([9 * 8 * 4 / 1e9] * 2)
    assert column("linear_gmacs", operators) == pytest.approx([80 / 1e9] * 2)


@pytest.mark.parametrize(
    ("kernel_area", "stride", "groups", "kind"),
    [
        (1, 1, 1, "pointwise_gmacs"),
        (1, 2, 1, "pointwise_gmacs"),
        (9, 1, 1, "winograd_gmacs"),
        (9, 2, 1, "spatial_gmacs"),
        (25, 1, 1, "spatial_gmacs"),
        (9, 1, 2, "spatial_gmacs"),
        (1, 1, 2, "spatial_gmacs"),
    ],
)
def test_convolutions_are_told_apart_by_kernel_stride_and_groups(kernel_area, stride, groups, kind):
    conv = Operators(
        names=("conv",),
        op=("conv",),
        kernel_area=np.array([kernel_area]),
        stride=np.array([stride]),
        groups=np.array([groups]),
        in_pixels=np.array([16 * stride**2]),
        out_pixels=np.array([16]),
        inputs=np.array([1]),
        in_channels=np.array([[8]]),
        out_channels=np.array([[8]]),
    )
    found = {name: column(name, conv).item() for name in MAC_FEATURES}
    assert found.pop(kind) == pytest.approx(kernel_area * 8 * 8 * 16 / groups / 1e9)
    assert set(found.values()) == {0.0}


def test_features_of_a_plan_are_the_sums_over_its_operators():
    operators = tiny_network()
    by_operator = features_by_operator(operators)
    assert by_operator.shape == (2, 6, len(FEATURES))
    assert by_operator.sum(axis=1) == pytest.approx(features(operators))
    macs = by_operator[..., : len(MAC_FEATURES)].sum(axis=-1)
    assert macs == pytest.approx(operators.macs / 1e9)


def test_features_count_launches_with_and_without_multiplications():
    operators = tiny_network()
    assert column("compute_launches", operators).tolist() == [4, 4]
    assert column("other_launches", operators).tolist() == [2, 2]


def test_elements_are_weights_and_activations():
    operators = tiny_network(middle=(8,))
    weights = 224 + 40 + 80 + 90
    read = 48 + 128 + 128 + 64 + 32 + 8
    written = 128 + 128 + 32 + 32 + 8 + 10
    assert elements(operators).sum(axis=1) == pytest.approx([(weights + read + written) / 1e6])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("op", ("conv", "conv", "depthwise", "add", "pool", "softmax")),
        ("stride", np.ones(5, dtype=int)),
        ("out_channels", np.ones((3, 6), dtype=int)),
    ],
    ids=["unknown operator", "one layer short", "one plan more"],
)
def test_operators_that_do_not_agree_are_refused(field, value):
    operators = tiny_network()
    fields = {name: getattr(operators, name) for name in Operators.__slots__}
    with pytest.raises(ValueError, match=r"operators needs|must be"):
        Operators(**{**fields, field: value})
