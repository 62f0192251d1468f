from __future__ import annotations

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F
from networks import CLASSES, EXAMPLES, INPUT_SHAPE, NETWORKS, build, images, rebuilt
from torch import nn

from edgekd.errors import ModelError
from edgekd.models.exported import export_program
from edgekd.models.layers import ChannelPad
from edgekd.models.quiet import quiet_torch
from edgekd.models.rewrite import rebuild

every_network = pytest.mark.parametrize("name", NETWORKS)
_KINDS = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)


@every_network
def test_a_rebuilt_network_gives_the_same_logits(name):
    with torch.no_grad():
        expected, found = build(name)(images(8)), rebuilt(name)(images(8))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))


@every_network
def test_layers_are_real_modules_under_the_names_their_parameters_had(name):
    original = {path: module for path, module in build(name).named_modules() if type(module) in _KINDS}
    found = {path: module for path, module in rebuilt(name).named_modules() if type(module) in _KINDS}
    assert found.keys() == original.keys()
    for path, module in original.items():
        assert type(found[path]) is type(module)
        assert repr(found[path]) == repr(module), path


@every_network
def test_every_stored_tensor_keeps_its_name_and_value(name):
    original = build(name).state_dict()
    found = rebuilt(name).state_dict()
    assert found.keys() == original.keys()
    for key, value in original.items():
        assert torch.equal(found[key], value), key


@every_network
def test_a_rebuilt_network_is_in_evaluation_mode_and_trains_its_batch_norms_when_told(name):
    network = copy.deepcopy(rebuilt(name))
    assert not any(module.training for module in network.modules())
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms]
    network(images(4))
    assert all(torch.equal(norm.running_mean, mean) for norm, mean in zip(norms, before, strict=True))
    network.train()(images(4))
    assert not any(torch.equal(norm.running_mean, mean) for norm, mean in zip(norms, before, strict=True))


@every_network
def test_training_mode_computes_what_the_original_does_in_training_mode(name):
    network, original = copy.deepcopy(rebuilt(name)).train(), build(name).train()
    with torch.no_grad():
        expected, found = original(images(8)), network(images(8))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    for path, module in original.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            torch.testing.assert_close(network.get_submodule(path).running_var, module.running_var)


@every_network
def test_any_batch_size_is_taken(name):
    with torch.no_grad():
        one_by_one = torch.cat([rebuilt(name)(image[None]) for image in images(7)])
        torch.testing.assert_close(rebuilt(name)(images(7)), one_by_one, rtol=0, atol=1e-4)


@every_network
def test_every_node_knows_its_output_shape_without_the_batch(name):
    for node in rebuilt(name).graph.nodes:
        if node.op in ("placeholder", "call_module", "call_function"):
            assert len(node.meta["shape"]) in (2, 4), node
            assert node.meta["shape"][0] is None, node


def test_a_rebuilt_network_owns_its_weights():
    module = build("plain")
    network = rebuild(export_program(module, EXAMPLES))
    memory = {tensor.data_ptr() for tensor in module.state_dict().values()}
    assert memory.isdisjoint(tensor.data_ptr() for tensor in network.state_dict().values())


def test_padded_shortcuts_become_layers_that_can_be_cut():
    pads = [(m.front, m.back) for m in rebuilt("padded").modules() if isinstance(m, ChannelPad)]
    assert pads == [(4, 4), (0, 8)]


@pytest.mark.parametrize(
    ("activation", "kind"),
    [
        (F.relu, nn.ReLU),
        (F.relu_, nn.ReLU),
        (F.relu6, nn.ReLU6),
        (F.hardtanh, nn.Hardtanh),
        (F.hardswish, nn.Hardswish),
        (F.hardsigmoid, nn.Hardsigmoid),
        (F.silu, nn.SiLU),
        (torch.sigmoid, nn.Sigmoid),
        (lambda x: F.leaky_relu(x, 0.2), nn.LeakyReLU),
    ],
    ids=["relu", "relu_", "relu6", "hardtanh", "hardswish", "hardsigmoid", "silu", "sigmoid", "leaky_relu"],
)
def test_activations_become_modules_with_the_same_settings(activation, kind):
    network = _rebuilt(lambda x: activation(x + 0))
    assert any(type(module) is kind for module in network.modules())
    # Values beyond every kink: -3 and 3 of the hard ones, -1 and 1 of hardtanh, 0 and 6 of ReLU6.
    x = torch.linspace(-8, 8, 3 * 64).reshape(1, *INPUT_SHAPE)
    torch.testing.assert_close(network(x), activation(x.clone()).flatten(1))


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x[:, :, 1::2, :-1],
        lambda x: x[:, 1:],
        lambda x: F.pad(x, (1, 2, 0, 1)),
        lambda x: F.pad(x, (0, 0, 0, 0, 1, 2), value=3.0),
        lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"),
        lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
        lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        lambda x: F.adaptive_avg_pool2d(x, (2, 3)),
        lambda x: F.adaptive_avg_pool2d(x, (None, 2)),
        lambda x: x.mean((2, 3)),
        lambda x: x.mean(1),
        lambda x: x.mean((-1, -2), keepdim=True),
        lambda x: torch.cat([x, -x], -3),
        lambda x: torch.cat([x, 2 * x], 2),
        lambda x: x.add(x, alpha=3),
        lambda x: x * 0.5 + 1,
        lambda x: x + x.mean((2, 3), keepdim=True),
        lambda x: x.reshape(x.shape[0], 3, 64).transpose(1, 2),
        lambda x: x.view(-1, 192),
        lambda x: x.clone().add_(1.0).mul_(x),
        lambda x: x.permute(0, 2, 3, 1),
    ],
    ids=[
        *("stride and end", "channel slice", "spatial pad", "channel pad with threes", "reflection"),
        *("max pool", "average pool", "adaptive pool", "half adaptive pool", "spatial mean", "channel mean"),
        *("mean with negative dims", "concatenation", "spatial concatenation", "alpha", "scalars", "broadcast"),
        *("tokens", "view", "in place", "channels last"),
    ],
)
def test_operators_keep_their_arguments(change):
    x = images(2)
    torch.testing.assert_close(_rebuilt(change)(x), change(x.clone()).flatten(1))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 6, (3, 1), stride=(2, 1), padding=(0, 2), dilation=(1, 2)),
        nn.Conv2d(3, 6, 3, padding="same"),
        nn.Conv2d(3, 6, 3, groups=3, padding=1, padding_mode="reflect"),
        nn.ConvTranspose2d(3, 4, 2, stride=2),
        nn.BatchNorm2d(3, eps=0.1, momentum=0.3),
        nn.BatchNorm2d(3, affine=False),
        nn.InstanceNorm2d(3, affine=True),
        nn.GroupNorm(3, 3),
        nn.PReLU(3),
        nn.Dropout(0.5),
        nn.Linear(8, 4),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_keep_their_arguments_or_stay_operators(layer):
    layer.eval()
    x = images(2)
    with torch.no_grad():
        torch.testing.assert_close(_rebuilt(layer)(x), layer(x).flatten(1))


def test_a_parameter_that_no_layer_owns_stays_trainable():
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.full((1, 3, 1, 1), 2.0))
            self.register_buffer("shift", torch.ones(1, 3, 1, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x * self.scale + self.shift).mean((2, 3))

    network = rebuild(export_program(Scaled(), EXAMPLES))
    assert [tuple(parameter.shape) for parameter in network.parameters()] == [(1, 3, 1, 1)]
    x = images(2)
    torch.testing.assert_close(network(x), (2 * x + 1).mean((2, 3)))


def test_weights_used_by_two_kinds_of_layers_are_not_confused():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.linear(x.mean((2, 3)))
            return self.linear(F.relu(x))

    module = Tied()
    network = rebuild(export_program(module, EXAMPLES))
    assert sum(isinstance(m, nn.Linear) for m in network.modules()) == 1
    torch.testing.assert_close(network(images(2)), module(images(2)))


def test_inputs_are_taken_one_after_the_other_and_several_outputs_come_as_a_tuple():
    def forward(a: torch.Tensor, b: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"sum": a + b, "difference": a - b}

    with quiet_torch():
        network = rebuild(torch.export.export(_Function(forward), (images(2), images(2))))
    a, b = images(2, 1), images(2, 2)
    torch.testing.assert_close(network(a, b), (a + b, a - b))


def test_a_network_exported_in_training_mode_is_refused_with_what_to_do():
    with quiet_torch():
        program = torch.export.export(build("plain").train(), (images(2),))
    with pytest.raises(ModelError, match="batch norm does in training mode") as caught:
        rebuild(program)
    assert "model.eval()" in caught.value.hint


def test_a_network_that_changes_its_input_is_refused():
    with pytest.raises(ModelError, match="leaves its input and its buffers as they are"):
        _rebuilt(lambda x: x.mul_(2))


def test_rebuilding_a_network_with_in_place_operators_is_silent():
    program = export_program(build("plain"), EXAMPLES)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        rebuild(program)
    assert [str(warning.message) for warning in seen] == []


def test_a_network_that_torch_cannot_follow_is_refused_with_its_reason():
    def branches(x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x

    with pytest.raises(ModelError, match="data-dependent branches") as caught:
        export_program(_Function(branches), EXAMPLES, where="net.pt2")
    assert caught.value.where == "net.pt2"
    assert "[batch, 3, 8, 8]" in caught.value.expected


def test_a_network_for_another_input_is_refused():
    with pytest.raises(ModelError, match=r"takes 1 input of shape \[batch, 4, 8, 8\]"):
        export_program(build("plain"), (torch.zeros(2, 4, 8, 8),))


class _Function(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: torch.Tensor):
        return self.function(*inputs)


def _rebuilt(function) -> nn.Module:
    """The function as a network that ends in a vector, rebuilt."""
    return rebuild(export_program(nn.Sequential(_Function(function), nn.Flatten()), EXAMPLES))


def test_the_networks_of_the_tests_tell_their_classes_apart():
    # Logits that were all alike would make the comparisons above empty.
    for name in NETWORKS:
        logits = rebuilt(name)(images(64)).detach()
        assert logits.shape == (64, CLASSES)
        assert float(logits.std(0).min()) > 1e-3, name
