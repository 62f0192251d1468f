from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from networks import EXAMPLES, NETWORKS, images, rebuilt
from torch import nn

from edgekd.models.exported import export_program
from edgekd.models.rewrite import rebuild
from edgekd.quantize.fold import copy_graph, fold_batch_norm

every_network = pytest.mark.parametrize("name", NETWORKS)
# In these, batch norms read what a sum or a concatenation made, and cannot be folded.
KEPT_NORMS = {"concat": 3, "preactivation": 3}


def _norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@every_network
def test_folding_keeps_the_logits(name):
    with torch.no_grad():
        expected, found = rebuilt(name)(images(8)), fold_batch_norm(rebuilt(name))(images(8))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@every_network
def test_no_batch_norm_is_left_behind_a_convolution(name):
    folded = fold_batch_norm(rebuilt(name))
    assert _norms(folded) == KEPT_NORMS.get(name, 0)
    for node in folded.graph.nodes:
        if node.op == "call_module" and isinstance(folded.get_submodule(node.target), nn.BatchNorm2d):
            source = node.args[0]
            is_conv = source.op == "call_module" and isinstance(folded.get_submodule(source.target), nn.Conv2d)
            # The first sum of a pre-activation network reads the convolution's own output too.
            assert not is_conv or len(source.users) > 1


@every_network
def test_everything_that_is_left_can_be_trained(name):
    # torch's own folding makes constants of the biases that come from batch norms.
    folded = fold_batch_norm(rebuilt(name))
    assert [path for path, parameter in folded.named_parameters() if not parameter.requires_grad] == []


@every_network
def test_folding_leaves_the_original_as_it_was(name):
    network = rebuilt(name)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    code = network.code
    folded = fold_batch_norm(network)
    with torch.no_grad():
        for parameter in folded.parameters():
            parameter.zero_()
    assert network.code == code
    assert before.keys() == network.state_dict().keys()
    assert all(torch.equal(network.state_dict()[key], value) for key, value in before.items())


def test_the_folded_weight_and_bias_are_those_of_the_formula():
    conv, norm = nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2, eps=0.25)
    with torch.no_grad():
        conv.weight.fill_(1.0)
        conv.bias.copy_(torch.tensor([3.0, 0.0]))
        norm.weight.copy_(torch.tensor([4.0, 5.0]))
        norm.bias.copy_(torch.tensor([7.0, 8.0]))
        norm.running_mean.copy_(torch.tensor([1.0, 2.0]))
        norm.running_var.copy_(torch.tensor([3.75, 0.0]))
    folded = fold_batch_norm(rebuild(export_program(nn.Sequential(conv, norm, nn.Flatten()), EXAMPLES)))
    # scale / sqrt(variance + eps) = 4 / 2 and 5 / 0.5; (bias - mean) times that plus shift: 2 * 2 + 7, -2 * 10 + 8.
    layer = folded.get_submodule("0")
    torch.testing.assert_close(layer.weight.flatten(1), torch.tensor([[2.0] * 3, [10.0] * 3]))
    torch.testing.assert_close(layer.bias, torch.tensor([11.0, -12.0]))


def test_a_convolution_that_others_read_too_is_not_folded_into():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
            self.norm.running_mean.fill_(2.0)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.conv(x)
            return (x + self.norm(x)).mean((2, 3))

    network = rebuild(export_program(Net(), EXAMPLES))
    folded = fold_batch_norm(network)
    assert _norms(folded) == 1
    torch.testing.assert_close(folded(images(2)), network(images(2)))


def test_a_convolution_called_twice_is_not_folded_into():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
            self.norm.running_mean.fill_(2.0)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(self.conv(F.relu(self.conv(x)))).mean((2, 3))

    network = rebuild(export_program(Net(), EXAMPLES))
    folded = fold_batch_norm(network)
    assert _norms(folded) == 1
    torch.testing.assert_close(folded(images(2)), network(images(2)))


def test_a_batch_norm_called_twice_is_folded_both_times():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
            self.norm = nn.BatchNorm2d(3)
            self.norm.running_mean.fill_(2.0)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(self.second(self.norm(self.first(x)))).mean((2, 3))

    network = rebuild(export_program(Net(), EXAMPLES))
    folded = fold_batch_norm(network)
    assert _norms(folded) == 0
    torch.testing.assert_close(folded(images(2)), network(images(2)))


def test_a_linear_layer_is_folded_too():
    layers = (nn.Flatten(), nn.Linear(192, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 5))
    network = nn.Sequential(*layers).eval()
    with torch.no_grad():
        network[2].running_mean.fill_(1.5)
    folded = fold_batch_norm(rebuild(export_program(network, EXAMPLES)))
    assert not any(isinstance(module, nn.BatchNorm1d) for module in folded.modules())
    torch.testing.assert_close(folded(images(2)), network(images(2)))


@every_network
def test_a_copied_graph_can_be_changed_without_touching_the_given_one(name):
    network = rebuilt(name)
    copied = copy_graph(network)
    assert copied.code == network.code
    nodes = len(network.graph.nodes)
    shapes = {node.name: node.meta.get("shape") for node in network.graph.nodes}
    for node in copied.graph.nodes:
        node.meta.clear()
    last = next(node for node in reversed(copied.graph.nodes) if node.op == "call_module")
    last.replace_all_uses_with(last.args[0])
    copied.graph.erase_node(last)
    assert len(network.graph.nodes) == nodes
    assert {node.name: node.meta.get("shape") for node in network.graph.nodes} == shapes
