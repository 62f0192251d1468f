"""Every network of the zoo keeps the library's promises, from the exported program to the deployed file."""

from __future__ import annotations

import copy
import functools
import gc
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import onnxruntime
import pytest
import torch
from torch import fx, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from zoo import NETWORKS, build
from zoo.adapter import calibrate_with, call, export, flat, onnx_bytes, unit_axis, units_as_output
from zoo.narrowed import (
    CHECKS,
    NOT_YET,
    channels_of,
    inputs_of,
    narrowed,
    not_yet,
    plan_of,
    predicted_shapes,
    rebuilt,
)
from zoo.network import draw, images
from zoo.residual import densenet, resnet

from edgekd.export.size import fit_size
from edgekd.models.rewrite import rebuild
from edgekd.prune.groups import ChannelMap, find_groups
from edgekd.prune.slicing import narrow
from edgekd.quantize.fold import fold_batch_norm
from edgekd.quantize.modules import QuantizedLayer
from edgekd.quantize.prepare import prepare
from edgekd.records import Plan
from edgekd.search.space import count_operators, width_space

SEEDS = (0, 1, 2)
_LAYERS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear)


def _every_network(check: str) -> pytest.MarkDecorator:
    """Parametrize over the networks; those in `NOT_YET` must fail."""
    cases = []
    for name in NETWORKS:
        reason = not_yet(name, check)
        # All checks of a network in one process: what is made once for it is made once.
        marks = [pytest.mark.xdist_group(name)]
        marks += [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
        cases.append(pytest.param(name, marks=marks))
    return pytest.mark.parametrize("name", cases)


def _run(network: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    with torch.no_grad():
        return flat(network(*inputs))


def _assert_close(found: tuple[torch.Tensor, ...], expected: tuple[torch.Tensor, ...], tolerance: float = 1e-5) -> None:
    """Assert that outputs agree within a part of their largest value."""
    assert len(found) == len(expected) >= 1
    for one, other in zip(found, expected, strict=True):
        scale = float(other.abs().max())
        assert scale > 1e-4, "outputs of zero would agree with anything"
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance * scale)


def test_the_tables_name_networks_and_checks_that_exist():
    checks = {check for names in CHECKS.values() for check in names} | {"groups"}
    for entry in NOT_YET:
        name, _, check = entry.partition("/")
        assert name in NETWORKS
        assert not check or check in checks


@_every_network("groups")
def test_what_can_be_pruned_is_found_and_what_must_stay_stays(name):
    channels = channels_of(name)
    assert any(group.units > 1 for group in channels.prunable) == NETWORKS[name].prunable
    is_prunable = np.array([group.prunable for group in channels.groups])[channels.group_of]
    for path, reason in NETWORKS[name].left_whole:
        if path in channels.outputs:
            assert not is_prunable[unit_axis(channels.outputs[path])].any(), f"{path}: {reason}"


# (a) Zeroing equals removing


class _Zeroing(fx.Interpreter):
    """The oracle: the whole network, with nothing coming out of the channels that a plan drops."""

    def __init__(self, network: fx.GraphModule, channels: ChannelMap, plan: Plan) -> None:
        super().__init__(network)
        self.channels, self.kept = channels, channels.kept_units(plan)

    def run_node(self, n: fx.Node) -> object:
        result = super().run_node(n)
        if n.op in ("call_module", "get_attr") and str(n.target) in self.channels.outputs:
            mask = self.kept[units_as_output(self.channels.nodes[n.name], n)]
            assert isinstance(result, torch.Tensor)
            return result * torch.from_numpy(mask)
        return result


def _zeroed(name: str, seed: int, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    with torch.no_grad():
        return flat(_Zeroing(rebuilt(name), channels_of(name), plan_of(name, seed)).run(*inputs))


@_every_network("zeroing")
def test_removing_channels_equals_zeroing_them(name):
    for seed in SEEDS:
        inputs = inputs_of(name, 4, seed)
        _assert_close(_run(narrowed(name, seed), inputs), _zeroed(name, seed, inputs))


@_every_network("zeroing")
def test_zeroing_changes_the_outputs_so_that_equality_means_something(name):
    inputs = inputs_of(name, 4)
    differences = [
        float((zeroed - whole).abs().max())
        for zeroed, whole in zip(_zeroed(name, 0, inputs), _run(rebuilt(name), inputs), strict=True)
    ]
    is_changed = max(differences) > 1e-2
    assert is_changed == bool(channels_of(name).prunable)


@_every_network("rebuilt")
def test_the_rebuilt_network_and_the_full_plan_answer_as_the_original(name):
    inputs = inputs_of(name, 3, 5)
    whole = _run(rebuilt(name), inputs)
    with torch.no_grad():
        _assert_close(whole, flat(call(build(name), NETWORKS[name].example_inputs(3, 5))))
    full = narrow(rebuilt(name), channels_of(name), channels_of(name).full_plan())
    assert all(torch.equal(one, other) for one, other in zip(_run(full, inputs), whole, strict=True))


# (b) Every tensor is cut


@_every_network("tensors")
def test_every_parameter_and_buffer_is_cut_to_what_the_plan_predicts(name):
    for seed in SEEDS:
        network = narrowed(name, seed)
        found = {key: tuple(value.shape) for key, value in network.state_dict().items()}
        assert found == predicted_shapes(name, plan_of(name, seed))
        for path, module in network.named_modules():
            if path in channels_of(name).outputs and isinstance(module, _LAYERS):
                assert tuple(module.weight.shape[:2]) == _declared_shape(module), path


def _declared_shape(module: nn.Module) -> tuple[int, int]:
    """Return what a layer's own counts say of its weight's first two sizes."""
    if isinstance(module, nn.Linear):
        return module.out_features, module.in_features
    if isinstance(module, (nn.ConvTranspose1d, nn.ConvTranspose2d)):
        return module.in_channels, module.out_channels // module.groups
    return module.out_channels, module.in_channels // module.groups


# (c) The pruned network is a network: it trains, is saved, loaded, exported and quantized


def _train_one_step(network: fx.GraphModule, name: str) -> None:
    """Train towards random answers and assert that every weight had a gradient and moved."""
    inputs = inputs_of(name, 8, 11)
    network.train()
    outputs = flat(network(*inputs))
    generator = torch.Generator().manual_seed(3)
    targets = [torch.randn(output.shape, generator=generator) for output in outputs]
    loss = torch.stack([(o - t).square().mean() for o, t in zip(outputs, targets, strict=True)]).sum()
    loss.backward()
    assert torch.isfinite(loss)
    with torch.no_grad():
        for path, parameter in network.named_parameters():
            assert parameter.grad is not None, path
            assert torch.isfinite(parameter.grad).all(), path
            before = parameter.clone()
            # Steps of one size for every tensor, so that none is too small to be seen.
            parameter -= 1e-3 * parameter.grad / parameter.grad.abs().max().clamp(min=1e-12)
            assert parameter.dim() == 1 or not torch.equal(parameter, before), path
            parameter.grad = None
    network.eval()


@functools.cache
def _trained(name: str) -> fx.GraphModule:
    network = narrowed(name, 1)
    _train_one_step(network, name)
    return network


@_every_network("training")
def test_a_pruned_network_trains(name):
    _trained(name)
    assert torch.isfinite(torch.cat([output.flatten() for output in _run(_trained(name), inputs_of(name, 4))])).all()


# What the fresh process runs: it knows nothing of the library, which the files must not need.
_LOAD = """
import sys, warnings
from pathlib import Path
import torch
warnings.simplefilter("ignore")
torch.set_num_threads(1)
for line in sys.stdin:
    path = Path(line.strip())
    with torch.no_grad():
        outputs = torch.export.load(path).module()(*torch.load(path.with_suffix(".inputs")))
    torch.save(outputs, path.with_suffix(".outputs"))
    print("done", flush=True)
"""


@pytest.fixture(scope="module")
def loader() -> Iterator[subprocess.Popen[str]]:
    """A process that opens and runs one file after the other; importing torch anew for each would take minutes."""
    command = [sys.executable, "-c", _LOAD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@_every_network("reload")
def test_a_saved_pruned_network_answers_the_same_in_a_fresh_process(name, loader, tmp_path):
    inputs = inputs_of(name, 3, 7)
    torch.export.save(export(_trained(name), inputs), tmp_path / "net.pt2")
    torch.save(inputs, tmp_path / "net.inputs")
    print(tmp_path / "net.pt2", file=loader.stdin, flush=True)
    assert loader.stdout.readline() == "done\n"
    _assert_close(flat(torch.load(tmp_path / "net.outputs")), _run(_trained(name), inputs))


def _run_onnx(content: bytes, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    feed = {entry.name: x.numpy() for entry, x in zip(session.get_inputs(), inputs, strict=True)}
    return tuple(torch.from_numpy(output) for output in session.run(None, feed))


@functools.cache
def _onnx(name: str) -> bytes:
    return onnx_bytes(_trained(name), "fp32", inputs_of(name, 2))


@_every_network("onnx")
def test_a_pruned_network_answers_the_same_in_onnxruntime(name):
    inputs = inputs_of(name, 3, 9)
    _assert_close(_run_onnx(_onnx(name), inputs), _run(_trained(name), inputs), tolerance=1e-4)


def _quantized(name: str) -> fx.GraphModule:
    prepared = prepare(_trained(name))
    calibrate_with(prepared, [inputs_of(name, 8, seed) for seed in range(2)])
    return prepared


@_every_network("quantization")
def test_a_pruned_network_is_calibrated_and_trained_under_fake_quantization(name):
    prepared = _quantized(name)
    assert any(isinstance(module, QuantizedLayer) for module in prepared.modules())
    inputs = inputs_of(name, 8, 0)
    for found, exact in zip(_run(prepared, inputs), _run(_trained(name), inputs), strict=True):
        # Eight bits per layer: errors of a few percent of the range, far from a wrong network.
        assert (found - exact).abs().mean() < 0.1 * (exact.max() - exact.min())
    _train_one_step(prepared, name)


@pytest.mark.slow
@_every_network("qdq")
def test_a_quantized_network_answers_the_same_in_onnxruntime(name):
    prepared, inputs = _quantized(name), inputs_of(name, 8, 0)
    content = onnx_bytes(prepared, "int8", inputs_of(name, 2))
    for found, expected in zip(_run_onnx(content, inputs), _run(prepared, inputs), strict=True):
        # A value on the border of two steps may fall to either side and carry on; most are equal.
        assert (found - expected).abs().mean() < 0.01 * (expected.max() - expected.min())


# (d) Costs fall as predicted


def _counted(network: fx.GraphModule, inputs: tuple[torch.Tensor, ...], ignored: set[str]) -> tuple[int, int]:
    """Return MACs as torch counts them while the network runs on one example, and the values a deployed file holds."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        _run(network, inputs)
    folded = fold_batch_norm(network)
    values = {key: value for key, value in folded.state_dict().items() if value.is_floating_point()}
    stored = sum(value.numel() for key, value in values.items() if key not in ignored)
    layers = [module for module in folded.modules() if isinstance(module, _LAYERS)]
    # A deployed layer has a bias for every output.
    biases = sum(layer.weight.shape[_output_axis(layer)] * _groups(layer) for layer in layers if layer.bias is None)
    return counter.get_total_flops() // 2, stored + biases


def _output_axis(layer: nn.Module) -> int:
    return 1 if isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d)) else 0


def _groups(layer: nn.Module) -> int:
    return layer.groups if isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d)) else 1


def _widths(name: str, *seeds: int) -> np.ndarray:
    channels = channels_of(name)
    plans = [channels.full_plan(), *(plan_of(name, seed) for seed in seeds)]
    return np.array([[dict(plan.widths)[g.name] for g in channels.prunable] for plan in plans], dtype=np.int64)


@_every_network("costs")
def test_macs_and_parameters_fall_by_what_the_plan_predicts(name):
    channels = channels_of(name)
    operators = count_operators(rebuilt(name), channels, _widths(name, *SEEDS))
    inputs = inputs_of(name, 1)
    networks = [narrow(rebuilt(name), channels, channels.full_plan()), *(narrowed(name, seed) for seed in SEEDS)]
    # A single value, as a PReLU for all channels has, is no channel's.
    prelus = {path for path, module in rebuilt(name).named_modules() if isinstance(module, nn.PReLU)}
    single = {f"{path}.weight" for path in prelus if rebuilt(name).get_submodule(path).weight.numel() == 1}
    for index, network in enumerate(networks):
        macs, parameters = _counted(network, inputs, single)
        assert int(operators.macs[index].sum()) == macs
        assert int(operators.weight_elements[index].sum()) == parameters
    assert operators.macs[1].sum() < operators.macs[0].sum() or not channels.prunable


@pytest.mark.slow
@_every_network("size")
def test_the_onnx_file_shrinks_by_what_the_plan_predicts(name):
    whole = onnx_bytes(rebuilt(name), "fp32", inputs_of(name, 2))
    operators = count_operators(rebuilt(name), channels_of(name), _widths(name, 1))
    predicted = int(fit_size(operators, len(whole), "fp32").predict(operators)[1])
    assert abs(predicted - len(_onnx(name))) < 0.01 * len(whole)
    assert len(_onnx(name)) < len(whole) or not channels_of(name).prunable


# (e) Widths a target can compute well


@_every_network("widths")
def test_widths_are_multiples_that_the_target_asks_for_or_whole(name):
    channels = channels_of(name)
    for multiple in (1, 4, 8):
        space = width_space(channels, multiple)
        for index, (group, choices) in enumerate(zip(channels.prunable, space.choices, strict=True)):
            assert choices[-1] == group.units
            assert list(choices) == sorted(set(choices))
            for member in group.members:
                path, _, side = member.rpartition(".")
                units = unit_axis((channels.outputs if side == "out" else channels.inputs)[path])
                per_unit = int((channels.group_of[units] == index).sum()) // group.units
                if side == "out":
                    assert all(width * per_unit % multiple == 0 for width in choices[:-1]), (group.name, member)
    smallest = space.plan(np.array([choices[0] for choices in space.choices], dtype=np.int64))
    for output in _run(narrow(rebuilt(name), channels, smallest), inputs_of(name, 2)):
        assert torch.isfinite(output).all()


# (f) Memory


def _living_tensors() -> int:
    gc.collect()
    # By type, for `isinstance` would ask proxies that other tests left behind for their class.
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


@_every_network("memory")
def test_two_hundred_narrowings_leave_no_tensor_behind(name):
    narrowed(name, 0)
    before = _living_tensors()
    for seed in range(200):
        narrowed(name, seed % 4)
    assert _living_tensors() <= before


# Large networks, and physical pruning


@pytest.mark.slow
@pytest.mark.parametrize(
    "factory",
    [lambda: resnet(33, (4, 8, 16)), lambda: densenet(49, growth=4)],
    ids=["resnet_of_200_layers", "densenet_of_200_layers"],
)
def test_the_groups_of_two_hundred_layers_are_found_in_ten_seconds_of_one_core(factory: Callable[[], nn.Module]):
    network = rebuild(export(draw(factory(), 0), images(3, 8, 8)(2, 0)))
    assert sum(isinstance(module, _LAYERS) for module in network.modules()) >= 199
    start = time.process_time()
    channels = find_groups(network)
    # Processor time of this process, which other work on the machine does not change.
    assert time.process_time() - start < 10.0
    assert channels.prunable


@pytest.mark.parametrize(
    "name", ["vgg", "resnet_b", "resnext", "regnet", "densenet", "mobilenet_v2", "mobilenet_v3", "squeezenet"]
)
def test_slicing_equals_physical_pruning_of_the_original_modules(name):
    """Cut the tensors of the module as its author wrote it, by plain indexing, and run its own forward."""
    channels, plan = channels_of(name), plan_of(name, 2)
    kept = channels.kept_units(plan)
    pruned = copy.deepcopy(build(name))
    for path, module in pruned.named_modules():
        if path not in channels.outputs:
            continue
        outputs = torch.from_numpy(kept[unit_axis(channels.outputs[path])])
        inputs = torch.from_numpy(kept[unit_axis(channels.inputs[path])])
        for parameter in module.parameters():
            parameter.data = parameter.data[outputs]
            if parameter.dim() > 1 and parameter.shape[1] == len(inputs):
                parameter.data = parameter.data[:, inputs]
            elif parameter.dim() > 1 and parameter.shape[1] > 1:
                # A grouped convolution keeps the same positions in each of its groups.
                parameter.data = parameter.data[:, inputs[: parameter.shape[1]]]
            elif parameter.dim() > 1 and module.groups > 1:
                module.groups = int(inputs.sum())
        for key, buffer in module.named_buffers():
            if buffer.dim():
                setattr(module, key, buffer[outputs])
    inputs_of_network = inputs_of(name, 4, 2)
    _assert_close(_run(narrowed(name, 2), inputs_of_network), _run(pruned, inputs_of_network))
