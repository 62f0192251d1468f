from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from networks import CLASSES, EXAMPLES, NETWORKS, images, rebuilt
from torch import fx, nn

from edgekd.models.exported import export_program
from edgekd.models.layers import ChannelPad
from edgekd.models.rewrite import rebuild
from edgekd.quantize.fold import fold_batch_norm
from edgekd.quantize.modules import ActivationQuantizer, QuantizedLayer
from edgekd.quantize.prepare import calibrate, moves_values, prepare, quantizer_before, set_observing

every_network = pytest.mark.parametrize("name", NETWORKS)


def _calibrated(name: str) -> fx.GraphModule:
    prepared = prepare(rebuilt(name))
    calibrate(prepared, [images(32, seed) for seed in range(4)])
    return prepared


def _module(network: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return network.get_submodule(node.target) if node.op == "call_module" else None


# One quantizer


def test_the_first_batch_sets_the_range_and_later_ones_move_it_by_the_momentum():
    quantizer = ActivationQuantizer(momentum=0.1)
    quantizer(torch.tensor([-1.0, 4.0]))
    assert (float(quantizer.low), float(quantizer.high)) == (-1.0, 4.0)
    quantizer(torch.tensor([-3.0, 14.0]))
    # 0.9 * old + 0.1 * new
    torch.testing.assert_close(torch.stack([quantizer.low, quantizer.high]), torch.tensor([-1.2, 5.0]))
    torch.testing.assert_close(quantizer.scale, torch.tensor(6.2 / 255))


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [([2.0, 5.0], 0.0, 5.0), ([-5.0, -2.0], -5.0, 0.0), ([-1.0, 3.0], -1.0, 3.0), ([0.0, 0.0], 0.0, 0.0)],
    ids=["positive", "negative", "both", "zeros"],
)
def test_the_range_always_contains_zero_and_zero_stays_zero(values, low, high):
    quantizer = ActivationQuantizer()
    quantizer(torch.tensor(values))
    assert (float(quantizer.low), float(quantizer.high)) == (low, high)
    quantizer.is_observing = False
    assert float(quantizer(torch.zeros(1))) == 0.0
    assert 0 <= int(quantizer.zero_point) <= 255
    assert quantizer.scale > 0


def test_after_a_relu_the_zero_point_is_zero_and_the_largest_value_is_kept():
    quantizer = ActivationQuantizer()
    x = F.relu(images(4))
    rounded = quantizer(x)
    assert int(quantizer.zero_point) == 0
    torch.testing.assert_close(rounded.max(), x.max())
    assert (rounded - x).abs().max() <= quantizer.scale / 2 * 1.001


def test_every_value_is_a_whole_number_of_steps_and_there_are_256():
    quantizer = ActivationQuantizer()
    x = torch.linspace(-1.0, 3.0, 5000)
    steps = quantizer(x) / quantizer.scale
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-3)
    assert len(steps.round().unique()) == 256


def test_a_frozen_quantizer_does_not_move_and_clips():
    quantizer = ActivationQuantizer()
    quantizer(torch.tensor([0.0, 1.0]))
    quantizer.is_observing = False
    before = {key: value.clone() for key, value in quantizer.state_dict().items()}
    torch.testing.assert_close(quantizer(torch.tensor([-9.0, 9.0])), torch.tensor([0.0, 1.0]))
    assert all(torch.equal(quantizer.state_dict()[key], value) for key, value in before.items())


def test_the_gradient_passes_inside_the_range_and_stops_outside():
    quantizer = ActivationQuantizer()
    quantizer(torch.tensor([0.0, 1.0]))
    quantizer.is_observing = False
    x = torch.tensor([-0.5, 0.5, 1.5], requires_grad=True)
    quantizer(x).sum().backward()
    assert x.grad.tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("bounds", [(-1.3, 2.9), (0.0, 1.7), (-2.0, 0.0)], ids=["both", "positive", "negative"])
def test_values_and_gradients_are_those_of_the_fake_quantization_in_torch(bounds, memory_format):
    quantizer = ActivationQuantizer()
    quantizer(torch.tensor(bounds))
    quantizer.is_observing = False
    own, reference = (
        (images(8, seed=1) * 2).to(memory_format=memory_format).requires_grad_() for _ in range(2)
    )  # fmt: skip
    weights = images(8, seed=2)
    ours = quantizer(own)
    theirs = torch.fake_quantize_per_tensor_affine(reference, quantizer.scale, quantizer.zero_point, 0, 255)
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()
    assert torch.equal(ours, theirs)
    assert torch.equal(own.grad, reference.grad)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (7,), (2, 3), (2, 5, 4)])
def test_the_range_is_that_of_all_values_whatever_their_order_in_memory(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    if x.dim() == 4:
        x = x.to(memory_format=torch.channels_last)
    quantizer = ActivationQuantizer()
    quantizer(x)
    assert (float(quantizer.low), float(quantizer.high)) == (float(x.min()), float(x.max()))


# One layer


def _conv() -> nn.Conv2d:
    conv = nn.Conv2d(1, 2, (1, 2))
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([[0.5, -1.27], [25.4, 0.04]]).reshape(2, 1, 1, 2))
        conv.bias.copy_(torch.tensor([0.0123, -7.0]))
    return conv


def test_the_weight_scale_is_the_largest_magnitude_of_each_output_over_127():
    torch.testing.assert_close(QuantizedLayer(_conv()).weight_scale(), torch.tensor([1.27 / 127, 25.4 / 127]))


def test_a_layer_computes_with_rounded_weights_and_bias():
    layer = QuantizedLayer(_conv())
    x, input_scale = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor(0.5)
    # Steps 0.01 and 0.2: weights 0.5, -1.27 and 25.4, 0.04 -> 0.0. Bias steps 0.005 and 0.1: 0.0123 -> 0.010, -7.
    expected = torch.tensor([0.5 - 2 * 1.27 + 0.010, 25.4 - 7.0])
    torch.testing.assert_close(layer(x, input_scale).flatten(), expected)


def test_a_linear_layer_computes_with_rounded_weights_and_bias():
    linear = nn.Linear(2, 2)
    with torch.no_grad():
        linear.weight.copy_(_conv().weight.flatten(1))
        linear.bias.copy_(_conv().bias)
    expected = torch.tensor([[0.5 - 2 * 1.27 + 0.010, 25.4 - 7.0]])
    torch.testing.assert_close(QuantizedLayer(linear)(torch.tensor([[1.0, 2.0]]), torch.tensor(0.5)), expected)


def test_gradients_pass_straight_through_the_rounding():
    layer = QuantizedLayer(_conv())
    layer(torch.tensor([[[[1.0, 2.0]]]]), torch.tensor(0.5)).sum().backward()
    assert layer.layer.bias.grad.tolist() == [1.0, 1.0]
    assert layer.layer.weight.grad.flatten(1).tolist() == [[1.0, 2.0], [1.0, 2.0]]


def test_a_channel_of_zero_weights_stays_finite():
    conv = _conv()
    with torch.no_grad():
        conv.weight[0] = 0.0
    output = QuantizedLayer(conv)(torch.ones(1, 1, 1, 2), torch.tensor(0.5))
    assert torch.isfinite(output).all()
    torch.testing.assert_close(output.flatten()[0], conv.bias[0].detach())


def test_a_layer_without_bias_is_quantized_too():
    layer = QuantizedLayer(nn.Conv2d(1, 2, 1, bias=False))
    assert layer(torch.ones(1, 1, 2, 2), torch.tensor(0.1)).shape == (1, 2, 2, 2)


# A whole network


@every_network
def test_the_input_is_quantized_and_the_logits_are_not(name):
    prepared = prepare(rebuilt(name))
    first = next(node for node in prepared.graph.nodes if node.op == "placeholder")
    assert [type(_module(prepared, user)) for user in first.users] == [ActivationQuantizer]
    output = next(node for node in prepared.graph.nodes if node.op == "output")
    assert isinstance(_module(prepared, output.args[0]), QuantizedLayer)


@every_network
def test_every_layer_is_quantized_with_the_scale_of_what_it_reads(name):
    prepared = prepare(rebuilt(name))
    layers = [node for node in prepared.graph.nodes if isinstance(_module(prepared, node), QuantizedLayer)]
    originals = fold_batch_norm(rebuilt(name))
    expected = [n for n in originals.graph.nodes if isinstance(_module(originals, n), (nn.Conv2d, nn.Linear))]
    if name == "unknown":
        expected = [node for node in expected if node.target != "reader.0"]  # reads floats from the unknown operator
    assert [node.target for node in layers] == [node.target for node in expected]
    for node in layers:
        quantizer = quantizer_before(prepared, node.args[0])
        assert node.args[1].target == f"{quantizer.target}.scale"


@every_network
def test_no_relu_reads_a_quantized_value(name):
    # It is fused into the layer or sum before it, so a quantizer between them would be one too many.
    prepared = prepare(rebuilt(name))
    for node in prepared.graph.nodes:
        if isinstance(_module(prepared, node), (nn.ReLU, nn.ReLU6)):
            source = _module(prepared, node.args[0])
            assert not isinstance(source, ActivationQuantizer)


@every_network
def test_what_only_moves_values_keeps_the_quantizer_of_its_input(name):
    prepared = prepare(rebuilt(name))
    moving = [node for node in prepared.graph.nodes if moves_values(prepared, node)]
    for node in moving:
        assert not any(isinstance(_module(prepared, user), ActivationQuantizer) for user in node.users)
        assert quantizer_before(prepared, node) is quantizer_before(prepared, node.all_input_nodes[0])
    kinds = {type(_module(prepared, node)) for node in moving}
    if name == "padded":
        assert ChannelPad in kinds
    if name in ("plain", "flattened"):
        assert nn.MaxPool2d in kinds


@every_network
def test_preparing_leaves_the_original_as_it_was(name):
    network = rebuilt(name)
    before, code = copy.deepcopy(network.state_dict()), network.code
    calibrate(prepare(network), [images(4)])
    assert network.code == code
    assert all(torch.equal(network.state_dict()[key], value) for key, value in before.items())


@every_network
def test_calibration_gives_every_quantizer_a_range_and_then_freezes_it(name):
    prepared = _calibrated(name)
    quantizers = {path: m for path, m in prepared.named_modules() if isinstance(m, ActivationQuantizer)}
    assert quantizers
    for path, quantizer in quantizers.items():
        assert quantizer.low <= 0 <= quantizer.high, path
        assert quantizer.high > quantizer.low, path
        assert not quantizer.is_observing
    before = {key: value.clone() for key, value in prepared.state_dict().items()}
    with torch.no_grad():
        prepared(100 * images(4))
    assert all(torch.equal(prepared.state_dict()[key], value) for key, value in before.items())


@every_network
def test_what_a_relu_feeds_has_zero_point_zero(name):
    prepared = _calibrated(name)
    for node in prepared.graph.nodes:
        if isinstance(_module(prepared, node), (nn.ReLU, nn.ReLU6)):
            for user in node.users:
                quantizer = _module(prepared, user)
                if isinstance(quantizer, ActivationQuantizer):
                    assert int(quantizer.zero_point) == 0, user


@every_network
def test_eight_bits_hardly_change_the_logits(name):
    x = images(64, seed=9)
    with torch.no_grad():
        exact, rounded = rebuilt(name)(x), _calibrated(name)(x)
    error = (exact - rounded).square().mean() / (exact - exact.mean(0)).square().mean()
    assert not torch.equal(exact, rounded)
    # As a share of the logits' variance. Values beyond the first batch's range are clipped, which gives most of it;
    # a wrong scale, zero point or place gives shares near 1.
    assert error < 0.1


@every_network
def test_a_prepared_network_trains_with_moving_and_with_frozen_ranges(name):
    prepared = _calibrated(name)
    x, y = images(16), torch.arange(16) % CLASSES
    optimizer = torch.optim.SGD(prepared.parameters(), lr=1e-3)
    losses = []
    for is_observing in (True, False, False):
        set_observing(prepared, is_observing=is_observing)
        loss = F.cross_entropy(prepared(x), y)
        optimizer.zero_grad()
        loss.backward()
        for path, parameter in prepared.named_parameters():
            assert parameter.grad is not None, path
            assert torch.isfinite(parameter.grad).all(), path
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_a_network_of_one_layer_has_one_quantizer():
    network = rebuild(export_program(nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), EXAMPLES))
    prepared = prepare(network)
    assert sum(isinstance(module, ActivationQuantizer) for module in prepared.modules()) == 1


def test_a_layer_that_reads_floats_once_is_computed_in_float_both_times():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.twice, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, CLASSES)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.twice(torch.roll(self.twice(x), 1, 1)).mean((2, 3)))

    network = rebuild(export_program(Net(), EXAMPLES))
    prepared = prepare(network)
    calibrate(prepared, [images(8)])
    assert isinstance(prepared.get_submodule("twice"), nn.Conv2d)
    assert isinstance(prepared.get_submodule("head"), QuantizedLayer)
    torch.testing.assert_close(prepared(images(8)), network(images(8)), rtol=0, atol=0.05)


def test_set_observing_reaches_every_quantizer():
    prepared = prepare(rebuilt("residual"))
    for is_observing in (False, True):
        set_observing(prepared, is_observing=is_observing)
        assert {m.is_observing for m in prepared.modules() if isinstance(m, ActivationQuantizer)} == {is_observing}
