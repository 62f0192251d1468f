from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from digits import rebuilt
from torch import nn

from edgekd.data import Images, Normalization
from edgekd.prune.groups import find_groups
from edgekd.search.accuracy import candidate_network, candidate_score, recalibrate
from edgekd.search.ledger import Score

MEAN, STD = 0.25, 0.5
NORMALIZATION = Normalization(mean=(MEAN,), std=(STD,))


def some_images(count: int, *, seed: int = 0) -> Images:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 256, (count, 1, 4, 4), generator=generator, dtype=torch.uint8)
    y = torch.randint(0, 3, (count,), generator=generator)
    return Images(x=x, y=y, ids=tuple(map(str, range(count))))


def inputs_of(images: Images) -> np.ndarray:
    return (images.x.numpy().astype(np.float64) / 255 - MEAN) / STD


def test_statistics_of_one_batch_are_its_mean_and_unbiased_variance() -> None:
    images = some_images(20)
    network = nn.Sequential(nn.BatchNorm2d(1))
    network[0].running_mean.fill_(5.0)
    recalibrate(network, images, NORMALIZATION)
    values = inputs_of(images)
    assert network[0].running_mean.item() == pytest.approx(values.mean(), abs=1e-6)
    assert network[0].running_var.item() == pytest.approx(values.var(ddof=1), rel=1e-5)


def test_statistics_of_several_batches_are_the_plain_mean_of_theirs() -> None:
    images = some_images(128 + 3)
    network = nn.Sequential(nn.BatchNorm2d(1))
    recalibrate(network, images, NORMALIZATION)
    parts = np.split(inputs_of(images), [128])
    assert network[0].running_mean.item() == pytest.approx(np.mean([part.mean() for part in parts]), abs=1e-6)
    assert network[0].running_var.item() == pytest.approx(np.mean([part.var(ddof=1) for part in parts]), rel=1e-5)


def test_recalibration_leaves_weights_momentum_and_everything_but_batch_norm_as_it_was() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, momentum=0.3), nn.Dropout(0.5), nn.BatchNorm2d(4))
    before = {name: value.clone() for name, value in network.named_parameters()}
    recalibrate(network, some_images(20), NORMALIZATION)
    assert all(torch.equal(value, before[name]) for name, value in network.named_parameters())
    assert [network[1].momentum, network[3].momentum] == [0.3, 0.1]
    assert not any(module.training for module in network.modules())
    first = {name: value.clone() for name, value in network.named_buffers()}
    recalibrate(network, some_images(20), NORMALIZATION)
    assert all(torch.equal(value, first[name]) for name, value in network.named_buffers())


def classifier() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(8, 3)).eval()


def test_the_loss_is_the_mean_cross_entropy_by_hand() -> None:
    network, images = rebuilt(classifier(), (1, 4, 4)), some_images(30)
    with torch.no_grad():
        logits = network(torch.from_numpy(inputs_of(images)).float()).double().numpy()
    log_share = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    by_hand = -log_share[np.arange(30), images.y.numpy()].mean()
    assert candidate_score(network, images, NORMALIZATION).loss == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf], ids=str)
def test_a_loss_that_is_not_finite_counts_as_infinite(bad: float) -> None:
    network = rebuilt(classifier(), (1, 4, 4))
    with torch.no_grad():
        next(iter(network.parameters())).fill_(bad)
    assert candidate_score(network, some_images(10), NORMALIZATION) == Score(loss=math.inf, metric=None)


def test_the_candidate_of_the_full_plan_is_the_network_with_recalibrated_statistics() -> None:
    network, images = rebuilt(classifier(), (1, 4, 4)), some_images(40)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    channels = find_groups(network)
    candidate = candidate_network(network, channels, channels.full_plan(), images, NORMALIZATION)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    recalibrate(network, images, NORMALIZATION)
    x = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(candidate(x), network(x))
