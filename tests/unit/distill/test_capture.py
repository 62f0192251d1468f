from __future__ import annotations

import pytest
import torch
from torch import fx, nn
from zoo import NETWORKS, program

from edgekd.distill.capture import Pair, captured, depth_of, layer_node, place
from edgekd.errors import DistillError, UnknownNameError
from edgekd.models.rewrite import rebuild
from edgekd.prune.groups import find_groups
from edgekd.prune.importance import rank_units
from edgekd.prune.slicing import copy_network, narrow
from edgekd.quantize.prepare import calibrate, prepare


def network(name: str) -> fx.GraphModule:
    return rebuild(program(name))


def inputs(name: str) -> tuple[torch.Tensor, ...]:
    found = NETWORKS[name].example_inputs(2, 0)
    assert isinstance(found, tuple)
    return found


def pruned(name: str) -> fx.GraphModule:
    from edgekd.records import Plan

    whole = network(name)
    channels = rank_units(whole, find_groups(whole))
    widths = tuple((group.name, max(1, group.units // 2)) for group in channels.prunable)
    return narrow(whole, channels, Plan(widths=widths))


def features(net: fx.GraphModule, layers: list[str], *x: torch.Tensor) -> dict[str, torch.Tensor]:
    with torch.no_grad(), captured(net, layers) as found:
        net(*x)
    return found


def test_a_resnet_gives_the_last_layer_of_each_resolution() -> None:
    net = network("resnet_a")
    pairs = place(net, net)
    # Stages of 16, 8 and 4 pixels; the ReLU after each block's sum is its last.
    assert pairs == tuple(Pair(name, name) for name in ("relu_2", "relu_4", "relu_6"))
    found = features(net, [pair.teacher for pair in pairs], *inputs("resnet_a"))
    assert [tuple(x.shape) for x in found.values()] == [(2, 8, 16, 16), (2, 16, 8, 8), (2, 32, 4, 4)]


@pytest.mark.parametrize("kind", ["pruned", "prepared", "pruned and prepared"])
def test_a_changed_student_is_read_at_the_same_places(kind: str) -> None:
    teacher = network("resnet_a")
    student = pruned("resnet_a") if "pruned" in kind else network("resnet_a")
    if "prepared" in kind:
        student = prepare(student)
        calibrate(student, [inputs("resnet_a")])
    pairs = place(teacher, student)
    assert pairs == place(teacher, teacher)
    found = features(student, [pair.student for pair in pairs], *inputs("resnet_a"))
    widths = [x.shape[1] for x in found.values()]
    assert widths == ([4, 8, 16] if "pruned" in kind else [8, 16, 32])


def test_a_network_of_other_architecture_is_paired_by_resolution() -> None:
    teacher, student = network("resnet_a"), network("mobilenet_v2")
    pairs = place(teacher, student)
    assert len(pairs) >= 2
    ours = features(student, [p.student for p in pairs], *inputs("mobilenet_v2"))
    theirs = features(teacher, [p.teacher for p in pairs], *inputs("resnet_a"))
    assert [ours[p.student].shape[2:] for p in pairs] == [theirs[p.teacher].shape[2:] for p in pairs]


def test_a_transformer_and_a_convolutional_network_are_paired_by_depth() -> None:
    teacher, student = network("vit"), network("resnet_a")
    pairs = place(teacher, student)
    theirs = features(teacher, [p.teacher for p in pairs], *inputs("vit"))
    assert any(x.ndim == 3 for x in theirs.values())
    nodes = list(student.graph.nodes)
    order = [nodes.index(layer_node(student, p.student, "layer")) for p in pairs]
    assert order == sorted(order)


def test_a_block_is_named_by_the_users_module_and_means_its_output() -> None:
    net = network("resnet_a")
    found = features(net, ["2", "relu_2"], *inputs("resnet_a"))
    assert torch.equal(found["2"], found["relu_2"])


def test_the_value_of_a_sum_is_read_where_the_next_module_takes_it() -> None:
    net = network("resnet_a")
    found = features(net, ["add", "relu_2"], *inputs("resnet_a"))
    assert torch.equal(found["add"].relu(), found["relu_2"])
    assert found["add"].min() < 0


def test_a_batch_norm_that_was_folded_stands_for_its_convolution() -> None:
    net = network("resnet_a")
    prepared = prepare(net)
    (float_value,) = features(net, ["2.bn2"], *inputs("resnet_a")).values()
    (folded,) = features(prepared, ["2.bn2"], *inputs("resnet_a")).values()
    assert torch.allclose(folded, float_value, atol=0.1 * float(float_value.abs().max()))


def test_a_missing_layer_names_the_nearest() -> None:
    net = network("resnet_a")
    with pytest.raises(UnknownNameError) as caught, captured(net, ["2.conv3"], "student layer"):
        pass
    assert caught.value.where == "student layer"
    assert "Did you mean '2.conv" in caught.value.hint


def test_hooks_are_gone_after_the_block_also_when_it_fails() -> None:
    net = network("resnet_a")

    def hooks() -> int:
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())

    with captured(net, ["add", "relu_4"]):
        assert hooks() == 2
    assert hooks() == 0
    with pytest.raises(RuntimeError, match="channels"), captured(net, ["add", "relu_4"]):
        net(torch.zeros(1, 1, 1, 1))
    assert hooks() == 0
    with pytest.raises(UnknownNameError), captured(net, ["relu_4", "nowhere"]):
        pass
    assert hooks() == 0


def test_a_copy_that_runs_within_the_block_does_not_write_over_the_features() -> None:
    net = network("resnet_a")
    copy = copy_network(net)
    (x,) = inputs("resnet_a")
    with torch.no_grad(), captured(net, ["relu_4"]) as found:
        net(x)
        before = found["relu_4"].clone()
        copy(x + 1.0)
        assert torch.equal(found["relu_4"], before)


def test_depth_is_the_share_of_weighted_layers_up_to_there() -> None:
    # One convolution, three blocks of two, and the classifier: 8 layers.
    net = network("resnet_a")
    assert [depth_of(net, f"relu_{i}") for i in (2, 4, 6)] == [3 / 8, 5 / 8, 7 / 8]
    assert depth_of(prepare(net), "relu_4") == 5 / 8


def test_a_network_without_maps_or_a_plain_module_is_refused() -> None:
    from digits import rebuilt

    with pytest.raises(DistillError, match="as load_model gives it"):
        place(nn.Conv2d(1, 1, 1), network("resnet_a"))
    flat = rebuilt(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), (1, 2, 2))
    with pytest.raises(DistillError, match="maps or tokens, found none"):
        place(flat, network("resnet_a"))
