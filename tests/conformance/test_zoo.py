"""The networks of the zoo are what the other tests take them for."""

import pytest
import torch
from zoo import NETWORKS, build, program
from zoo.adapter import call, flat
from zoo.network import CLASSES

every_network = pytest.mark.parametrize("name", NETWORKS)
LARGEST = 150_000


@every_network
def test_a_network_answers_for_any_batch_and_alike_for_each_example(name):
    network, inputs = build(name), NETWORKS[name].example_inputs
    three = inputs(3, 0)
    one = {key: x[:1] for key, x in three.items()} if isinstance(three, dict) else tuple(x[:1] for x in three)
    with torch.no_grad():
        whole, first = flat(call(network, three)), flat(call(network, one))
    assert len(whole) == len(first) >= 1
    for together, alone in zip(whole, first, strict=True):
        assert together.shape[0] == 3
        assert torch.isfinite(together).all()
        torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-4)
        assert together.std() > 1e-2, "an answer that hardly changes would hide mistakes"


@every_network
def test_a_network_can_be_exported_with_a_dynamic_batch(name):
    network, inputs = build(name), NETWORKS[name].example_inputs
    exported = program(name).module()
    with torch.no_grad():
        for batch in (1, 3):
            expected = flat(call(network, inputs(batch, 1)))
            found = flat(call(exported, inputs(batch, 1)))
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@every_network
def test_a_network_is_small_and_drawn_from_its_seed_alone(name):
    network = build(name, 1)
    assert sum(parameter.numel() for parameter in network.parameters()) <= LARGEST
    torch.rand(1)  # moves the global generator, which must not matter
    again, other = build(name, 1).state_dict(), build(name, 2).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in network.state_dict().items())
    drawn = [key for key, value in network.state_dict().items() if value.is_floating_point()]
    assert not any(torch.equal(again[key], other[key]) for key in drawn)


def test_every_network_says_where_it_was_published_and_what_stays_whole():
    for network in NETWORKS.values():
        assert any(part.strip(" ,.:").isdigit() for part in network.published.replace(",", " ").split())
        modules = dict(build(network.name).named_modules())
        assert all(path in modules and reason for path, reason in network.left_whole)


def test_token_inputs_given_by_name_and_by_position_mean_the_same():
    network = build("bert")
    by_position, by_name = (NETWORKS[name].example_inputs(3, 0) for name in ("bert", "bert_named"))
    with torch.no_grad():
        assert torch.equal(call(network, by_position), call(network, by_name))
        assert call(network, by_name).shape == (3, CLASSES)
