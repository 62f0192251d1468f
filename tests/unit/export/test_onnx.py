from __future__ import annotations

import collections
import functools
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from networks import EXAMPLES, INPUT_SHAPE, INPUTS, NETWORKS, images, rebuilt
from torch import fx, nn

from edgekd.errors import ExportError
from edgekd.export.onnx.export import export_onnx, onnx_model
from edgekd.export.onnx.graph import IR_VERSION, OPSET
from edgekd.export.onnx.qdq import to_qdq
from edgekd.export.size import fit_size
from edgekd.models.exported import export_program
from edgekd.models.rewrite import rebuild
from edgekd.prune.groups import find_groups
from edgekd.prune.slicing import narrow
from edgekd.quantize.modules import ActivationQuantizer
from edgekd.quantize.prepare import calibrate, prepare
from edgekd.records import Plan
from edgekd.search.space import count_operators

METADATA = {"input": json.dumps({"shape": INPUT_SHAPE}), "edgekd.precision": "int8", "labels": "[]"}
every_network = pytest.mark.parametrize("name", NETWORKS)


def _prepared(network: fx.GraphModule) -> fx.GraphModule:
    prepared = prepare(network)
    calibrate(prepared, [images(32, seed) for seed in range(4)])
    return prepared


@functools.cache
def _int8(name: str) -> tuple[fx.GraphModule, bytes]:
    """A calibrated network and its file."""
    prepared = _prepared(rebuilt(name))
    return prepared, onnx_model(prepared, precision="int8", inputs=INPUTS).SerializeToString()


def _run(content: bytes, x: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"input": x.numpy()})[0])


def _operators_that_run(content: bytes, folder: Path) -> collections.Counter[str]:
    """What onnxruntime executes after its own fusions, by kind."""
    options = onnxruntime.SessionOptions()
    # Above this level the graph is for this machine only, and writing it gives a warning.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return collections.Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)


# Integer arithmetic


# Convolutions and sums, counted in `networks.py`: stem first, then each block's.
@pytest.mark.parametrize(
    ("name", "convolutions", "sums"),
    [
        ("plain", 3, 0),
        ("residual", 1 + 2 * 2, 2),
        ("projection", 1 + 3 + 2, 2),
        ("padded", 1 + 3 * 2, 3),
        ("depthwise", 1 + 2 * 3 + 1, 1),
        ("grouped", 1 + 2 * 3, 2),
        ("squeeze_excite", 1 + 2 + 1, 0),
        ("flattened", 2, 0),
        ("concat", 1 + 2 + 1, 0),
        ("shared", 1 + 2 + 1, 0),
    ],
)
def test_onnxruntime_runs_every_convolution_and_sum_in_integers(tmp_path, name, convolutions, sums):
    operators = _operators_that_run(_int8(name)[1], tmp_path)
    assert operators["QLinearConv"] == convolutions
    assert operators["QLinearAdd"] == sums
    assert operators["Conv"] == operators["FusedConv"] == operators["Add"] == 0


def test_only_what_reads_from_an_unknown_operator_is_computed_in_float(tmp_path):
    operators = _operators_that_run(_int8("unknown")[1], tmp_path)
    # `before` and `after` in integers; `reader` reads floats.
    assert operators["QLinearConv"] == 2
    assert operators["Conv"] + operators["FusedConv"] == 1


@every_network
def test_the_file_computes_what_was_simulated(name):
    prepared, content = _int8(name)
    x = images(512, seed=5)
    with torch.no_grad():
        ours = prepared(x)
    theirs = _run(content, x)
    # Sums of floats round otherwise than integers do, so that here and there a value lands one step beside. A value
    # beside by one step in front of the classifier moves a logit by that step times a weight.
    difference = (ours - theirs).abs()
    step = _last_step(prepared)
    assert difference.max() <= 2 * step
    assert difference.mean() <= 0.1 * step
    assert (ours.argmax(1) == theirs.argmax(1)).double().mean() >= 0.99


def _last_step(prepared: fx.GraphModule) -> float:
    """What one step of each of the classifier's inputs can change in a logit."""
    output = next(node for node in prepared.graph.nodes if node.op == "output")
    head = output.args[0]
    quantizer = prepared.get_submodule(str(head.args[1].target).rpartition(".")[0])
    assert isinstance(quantizer, ActivationQuantizer)
    weight = prepared.get_submodule(str(head.target)).layer.weight
    return float(quantizer.scale * weight.detach().abs().sum(1).max())


class _LoudTwice(nn.Module):
    """One convolution called twice, whose inputs differ in range many times."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, 5)
        with torch.no_grad():
            self.twice.weight.copy_(torch.randn(3, 3, 3, 3, generator=torch.Generator().manual_seed(0)) * 4)
            self.twice.bias.copy_(torch.tensor([30.0, -20.0, 10.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(F.relu(self.twice(F.relu(self.twice(x)))).mean((2, 3)))


def test_a_layer_called_twice_has_one_weight_and_a_bias_for_each_range(tmp_path):
    prepared = _prepared(rebuild(export_program(_LoudTwice(), EXAMPLES)))
    model = onnx_model(prepared, precision="int8", inputs=INPUTS)
    content = model.SerializeToString()
    assert float(prepared.quantizer_relu.scale / prepared.quantizer_x.scale) > 5
    assert sum(tuple(tensor.dims) == (3, 3, 3, 3) for tensor in model.graph.initializer) == 1
    assert _operators_that_run(content, tmp_path)["QLinearConv"] == 2
    with torch.no_grad():
        assert (prepared(images(64)) - _run(content, images(64))).abs().max() <= _last_step(prepared) / 10


def test_weights_are_stored_as_int8_and_biases_as_int32():
    model = onnx.load_from_string(_int8("residual")[1])
    sizes = collections.Counter()
    for tensor in model.graph.initializer:
        sizes[tensor.data_type] += int(np.prod(tensor.dims))
    # 3*12*9 in the stem, 4 * 12*12*9 in the blocks, 12*5 in the head; besides zero points, which layers may share.
    weights, channels = 3 * 12 * 9 + 4 * 12 * 12 * 9 + 12 * 5, 5 * 12 + 5
    assert sizes[onnx.TensorProto.INT32] == channels
    assert weights <= sizes[onnx.TensorProto.INT8] <= weights + channels
    # Scales of weights and biases, and one of each activation: the floats do not grow with the weights.
    assert sizes[onnx.TensorProto.FLOAT] < 3 * channels


def test_exporting_leaves_the_prepared_network_as_it_was():
    prepared, _ = _int8("residual")
    before, code = {k: v.clone() for k, v in prepared.state_dict().items()}, prepared.code
    to_qdq(prepared)
    assert prepared.code == code
    assert before.keys() == prepared.state_dict().keys()
    assert all(torch.equal(prepared.state_dict()[key], value) for key, value in before.items())


# Files


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """One network in every precision; `again` is int8 once more."""
    folder = tmp_path_factory.mktemp("onnx")
    network, (prepared, _) = rebuilt("residual"), _int8("residual")
    paths = {}
    for key, source, precision in (
        ("fp32", network, "fp32"),
        ("fp16", network, "fp16"),
        ("int8", prepared, "int8"),
        ("again", prepared, "int8"),
    ):
        paths[key] = folder / f"{key}.onnx"
        export_onnx(source, paths[key], precision=precision, inputs=INPUTS, metadata=METADATA)
    return paths


def test_the_same_network_gives_the_same_bytes(files):
    assert files["int8"].read_bytes() == files["again"].read_bytes()


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_file_says_what_it_is_and_takes_any_batch_in_float32(files, precision):
    model = onnx.load(files[precision])
    onnx.checker.check_model(model, full_check=True)
    assert {entry.key: entry.value for entry in model.metadata_props} == METADATA
    assert model.ir_version == IR_VERSION
    assert [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")] == [OPSET]
    session = onnxruntime.InferenceSession(str(files[precision]), providers=["CPUExecutionProvider"])
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape[1:]) == ("input", "tensor(float)", [3, 8, 8])
    assert (made.name, made.type, made.shape[1:]) == ("logits", "tensor(float)", [5])
    for batch in (1, 3):
        assert session.run(None, {"input": images(batch).numpy()})[0].shape == (batch, 5)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_file_carries_no_paths_traces_or_long_names(files, precision):
    content = files[precision].read_bytes()
    for text in (
        b"/work",
        b"/home",
        b".py",
        b"site-packages",
        b"stack_trace",
        b"Traceback",
        b"pkg.torch",
        b"nn_module",
    ):
        assert text not in content, text
    model = onnx.load_from_string(content)
    names = {name for node in model.graph.node for name in (*node.input, *node.output)}
    assert max(len(name) for name in names) <= len("logits")
    assert not model.graph.value_info


def test_half_precision_takes_half_the_room_and_computes_nearly_the_same(files):
    weights = 3 * 12 * 9 + 4 * 12 * 12 * 9 + 12 * 5 + 5 * 12 + 5
    sizes = {key: path.stat().st_size for key, path in files.items()}
    # Two bytes less for each weight and bias, and a few for the two casts.
    assert abs(sizes["fp32"] - sizes["fp16"] - 2 * weights) < 300
    x = images(16)
    with torch.no_grad():
        expected = rebuilt("residual")(x)
    # 11 bits of significand: 2^-11 a rounding, a few of them in a row.
    torch.testing.assert_close(_run(files["fp16"].read_bytes(), x), expected, rtol=0, atol=2e-2)
    torch.testing.assert_close(_run(files["fp32"].read_bytes(), x), expected, rtol=0, atol=1e-5)


def test_exporting_in_half_precision_leaves_the_network_in_single(files):
    assert {parameter.dtype for parameter in rebuilt("residual").parameters()} == {torch.float32}


@pytest.mark.parametrize("name", ["plain", "depthwise"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_size_of_a_narrowed_networks_file_is_predicted_within_one_percent(name, precision):
    network = rebuilt(name)
    channels = find_groups(network)
    narrow_plan = Plan(widths=tuple((group.name, group.units // 2) for group in channels.prunable))
    widths = np.array(
        [[dict(plan.widths)[g.name] for g in channels.prunable] for plan in (channels.full_plan(), narrow_plan)]
    )

    def size(network: fx.GraphModule) -> int:
        source = _prepared(network) if precision == "int8" else network
        return len(onnx_model(source, precision=precision, inputs=INPUTS).SerializeToString())

    whole = size(network)
    model = fit_size(count_operators(network, channels, widths[:1]), whole, precision)
    predicted = model.predict(count_operators(network, channels, widths))
    assert predicted[0] == whole
    narrowed = size(narrow(network, channels, narrow_plan))
    assert narrowed < 0.9 * whole
    assert abs(predicted[1] - narrowed) < 0.01 * narrowed


class _NoOnnxForm(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(x).mean((2, 3))


def test_an_operator_without_an_onnx_form_is_refused(tmp_path):
    network = rebuild(export_program(_NoOnnxForm(), EXAMPLES))
    path = tmp_path / "net.onnx"
    with pytest.raises(ExportError) as caught:
        export_onnx(network, path, precision="fp32", inputs=INPUTS, metadata={})
    assert caught.value.exit_code == 4
    assert caught.value.where == "ONNX fp32"
    assert "issue" in caught.value.hint
    assert list(tmp_path.iterdir()) == []
