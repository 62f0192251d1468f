"""ONNX files: what PyTorch's exporters write comes back as the network it was; what cannot is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from networks import INPUT_SHAPE, INPUTS, NETWORKS, build, images, rebuilt
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edgekd.errors import ModelError
from edgekd.models.load import LoadedModel, load_model
from edgekd.models.quiet import quiet_torch
from edgekd.prune.groups import find_groups


def _export_by_tracing(module: nn.Module, path: Path, *, opset: int = 17, is_fixed: bool = False) -> Path:
    dynamic: dict[str, Any] = {} if is_fixed else {"dynamic_axes": {"x": {0: "batch"}}}
    with quiet_torch():
        torch.onnx.export(module, (images(1),), path, dynamo=False, opset_version=opset, input_names=["x"], **dynamic)
    return path


def _export(module: nn.Module, path: Path, *, opset: int = 18) -> Path:
    with quiet_torch():
        torch.onnx.export(
            module,
            (images(2),),
            path,
            dynamo=True,
            opset_version=opset,
            dynamic_shapes=({0: "batch"},),
            external_data=False,
            verbose=False,
        )
    return path


def _assert_same(model: LoadedModel, module: nn.Module) -> None:
    x = images(5)
    with torch.no_grad():
        torch.testing.assert_close(model.network(x), module(x), rtol=1e-5, atol=1e-5)


# What PyTorch exports


@pytest.mark.parametrize("is_fixed", [False, True], ids=["any batch", "batch of one"])
@pytest.mark.parametrize("name", NETWORKS)
def test_an_exported_network_comes_back_with_its_logits_and_channel_groups(tmp_path, name, is_fixed):
    module = build(name)
    model = load_model(_export_by_tracing(module, tmp_path / "net.onnx", is_fixed=is_fixed))
    assert (model.form, model.image_shape, model.remarks) == ("onnx", INPUT_SHAPE, ())
    _assert_same(model, module)
    # What torch writes as one operator that is not followed, the file has as slices, which are.
    if name != "unknown":
        assert len(find_groups(model.network).prunable) == len(find_groups(rebuilt(name)).prunable)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["padded", "squeeze_excite", "depthwise", "concat", "flattened"])
def test_a_network_from_the_newer_exporter_comes_back_too(tmp_path, name):
    module = build(name)
    model = load_model(_export(module, tmp_path / "net.onnx"))
    _assert_same(model, module)
    # What torch writes as one operator that is not followed, the file has as slices, which are.
    if name != "unknown":
        assert len(find_groups(model.network).prunable) == len(find_groups(rebuilt(name)).prunable)


def test_names_of_layers_are_kept_and_batch_norm_stays_batch_norm(tmp_path):
    module = build("residual")
    path = tmp_path / "net.onnx"
    with quiet_torch():
        torch.onnx.export(
            module,
            (images(2),),
            path,
            dynamo=False,
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            input_names=["x"],
            dynamic_axes={"x": {0: "batch"}},
        )
    model = load_model(path)
    _assert_same(model, module)
    assert isinstance(model.network.get_submodule("2.conv1"), nn.Conv2d)
    assert isinstance(model.network.get_submodule("2.bn1"), nn.BatchNorm2d)
    assert "2.bn1.running_var" in model.network.state_dict()
    assert find_groups(model.network).groups == find_groups(rebuilt("residual")).groups


class _Attention(nn.Module):
    """A vision transformer's block: patches, class token, layer norm, attention, GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.places = nn.Parameter(torch.randn(1, 5, 16))
        self.norm = nn.LayerNorm(16)
        self.qkv = nn.Linear(16, 48)
        self.out = nn.Linear(16, 16)
        self.mlp = nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(batch, length, 3, 2, width // 2).permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q @ k.transpose(-2, -1) / 8**0.5).softmax(-1)
        x = x + self.out((scores @ v).transpose(1, 2).reshape(batch, length, width))
        return self.head((x + self.mlp(x))[:, 0])


class _Upsampled(nn.Module):
    """Transposed convolution, PReLU, split and concatenation, two kinds of resizing, odd pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.act = nn.PReLU(8)
        self.up = nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1, output_padding=1)
        self.norm = nn.GroupNorm(2, 6)
        self.pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.mean = nn.AvgPool2d(3, stride=2, padding=1)
        self.head = nn.Linear(18, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.up(self.act(self.down(x))))
        a, b = x.split([2, 4], 1)
        x = torch.cat([b, F.leaky_relu(a, 0.2)], 1)
        larger = F.interpolate(self.pool(x), scale_factor=2, mode="nearest")
        smooth = F.interpolate(self.mean(x), size=(8, 8), mode="bilinear", align_corners=False)
        x = torch.cat([larger, F.hardswish(smooth), torch.clamp(x, -0.5, 0.5)], 1)
        return self.head(x.mean((2, 3)))


class _Shuffled(nn.Module):
    """Channel shuffle by shapes, pixel shuffle, padding that differs between sides, softmax over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.last = nn.Conv2d(2, 5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(F.pad(x, (0, 1, 0, 1)))
        batch, channels, height, width = x.shape
        x = x.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(batch, channels, height, width)
        x = F.pixel_shuffle(x.softmax(1), 2)
        return F.elu(self.last(F.pad(x, (1, 1, 1, 1), mode="reflect"))).amax((2, 3)).exp().log()


_MORE = (_Attention, _Upsampled, _Shuffled)


@pytest.mark.parametrize("opset", [13, 17, 20])
@pytest.mark.parametrize("is_fixed", [False, True], ids=["any batch", "batch of one"])
@pytest.mark.parametrize("factory", _MORE)
def test_operators_of_other_kinds_of_networks_come_back(tmp_path, factory, is_fixed, opset):
    torch.manual_seed(0)
    module = factory().eval()
    _assert_same(load_model(_export_by_tracing(module, tmp_path / "net.onnx", opset=opset, is_fixed=is_fixed)), module)


@pytest.mark.slow
@pytest.mark.parametrize("opset", [18, 22])
@pytest.mark.parametrize("factory", _MORE)
def test_operators_of_other_kinds_of_networks_come_back_from_the_newer_exporter(tmp_path, factory, opset):
    torch.manual_seed(0)
    module = factory().eval()
    _assert_same(load_model(_export(module, tmp_path / "net.onnx", opset=opset)), module)


@pytest.mark.slow
def test_our_own_float_file_comes_back(tmp_path):
    from edgekd.export.onnx.export import export_onnx

    path = tmp_path / "model.fp32.onnx"
    export_onnx(rebuilt("padded"), path, precision="fp32", inputs=INPUTS, metadata={})
    _assert_same(load_model(path), build("padded"))


# Files made by hand


def _file(
    path: Path,
    nodes: list[Any],
    weights: dict[str, np.ndarray] | None = None,
    shape: tuple[Any, ...] = ("batch", 3, 8, 8),
    inputs: tuple[str, ...] = ("x",),
    opset: int = 17,
) -> Path:
    entries = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in inputs]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    stored = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(nodes, "g", entries, outputs, stored)
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8).SerializeToString()
    )
    return path


_HEAD = [
    helper.make_node("GlobalAveragePool", ["f"], ["p"]),
    helper.make_node("Flatten", ["p"], ["y"]),
]
_KERNEL = {"w": np.ones((5, 3, 3, 3), np.float32) * np.linspace(-1, 1, 5, dtype=np.float32).reshape(5, 1, 1, 1)}


def _refused(path: Path, **options: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load_model(path, **options)
    assert all((caught.value.where, caught.value.expected, caught.value.found, caught.value.hint))
    return caught.value


@pytest.mark.parametrize("automatic", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_automatic_padding_depends_on_the_size_of_the_input(tmp_path, automatic):
    conv = helper.make_node("Conv", ["x", "w"], ["f"], strides=[2, 2], auto_pad=automatic)
    # Loading compares with onnxruntime.
    model = load_model(_file(tmp_path / "n.onnx", [conv, *_HEAD], _KERNEL))
    assert model.classes == 5


def test_float16_weights_become_float32_and_that_is_said(tmp_path):
    half = {"w": _KERNEL["w"].astype(np.float16)}
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("Conv", ["h", "w"], ["c"]),
        helper.make_node("Cast", ["c"], ["f"], to=TensorProto.FLOAT),
        *_HEAD,
    ]
    model = load_model(_file(tmp_path / "n.onnx", nodes, half))
    assert [remark.code for remark in model.remarks] == ["weights-converted"]
    assert "float16" in model.remarks[0].message
    assert {tensor.dtype for tensor in model.network.parameters()} == {torch.float32}


def test_an_unknown_operator_is_named_with_its_node(tmp_path):
    nodes = [helper.make_node("NonMaxSuppression", ["x", "x"], ["y"], name="boxes/nms")]
    assert _refused(_file(tmp_path / "n.onnx", nodes)).found == "the operator NonMaxSuppression at node 'boxes/nms'"


def test_an_operator_of_another_domain_is_named_with_it(tmp_path):
    nodes = [helper.make_node("FusedConv", ["x"], ["y"], name="c", domain="com.microsoft")]
    assert "com.microsoft::FusedConv at node 'c'" in _refused(_file(tmp_path / "n.onnx", nodes)).found


def test_a_known_operator_used_in_an_unknown_way_is_named_with_its_node(tmp_path):
    nodes = [helper.make_node("Resize", ["x", "", "s"], ["y"], name="r", mode="cubic", antialias=1)]
    error = _refused(_file(tmp_path / "n.onnx", nodes, {"s": np.array([1, 1, 2, 2], np.float32)}, opset=18))
    assert "antialiasing" in error.found
    assert "Resize" in error.expected or "onnxruntime" in error.expected


def test_a_quantized_network_is_refused(tmp_path):
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s"], ["y"]),
    ]
    error = _refused(_file(tmp_path / "n.onnx", nodes, {"s": np.array(0.1, np.float32)}))
    assert "already quantized" in error.found
    assert "float network" in error.hint


def test_two_inputs_keep_their_names(tmp_path):
    path = _file(tmp_path / "n.onnx", [helper.make_node("Add", ["a", "b"], ["y"])], inputs=("a", "b"))
    assert [spec.name for spec in load_model(path).inputs] == ["a", "b"]


def test_dynamic_sizes_need_an_input_size(tmp_path):
    path = _file(
        tmp_path / "n.onnx", [helper.make_node("Conv", ["x", "w"], ["f"]), *_HEAD], _KERNEL, ("batch", 3, "h", "w")
    )
    assert _refused(path).found == "dynamic sizes: [batch, 3, ?, ?]"
    assert load_model(path, input_shape=INPUT_SHAPE).image_shape == INPUT_SHAPE


def test_nan_weights_are_refused(tmp_path):
    weights = {"w": np.full((5, 3, 3, 3), np.nan, np.float32)}
    path = _file(tmp_path / "n.onnx", [helper.make_node("Conv", ["x", "w"], ["f"]), *_HEAD], weights)
    assert "NaN" in _refused(path).found


def test_complex_weights_are_refused(tmp_path):
    weights = {"w": np.ones(3, np.complex64)}
    error = _refused(_file(tmp_path / "n.onnx", [helper.make_node("Add", ["x", "w"], ["y"])], weights))
    assert error.found == "complex64 in 'w'"


def test_a_constant_that_would_fill_the_memory_is_refused(tmp_path):
    nodes = [helper.make_node("ConstantOfShape", ["s"], ["c"], name="huge"), helper.make_node("Add", ["x", "c"], ["y"])]
    error = _refused(_file(tmp_path / "n.onnx", nodes, {"s": np.array([2**20, 2**20], np.int64)}))
    assert "huge" in error.found


def test_half_a_file_is_damaged(tmp_path):
    path = _file(tmp_path / "n.onnx", [helper.make_node("Conv", ["x", "w"], ["f"]), *_HEAD], _KERNEL)
    path.write_bytes(path.read_bytes()[:300])
    assert _refused(path).expected == "a whole ONNX file"


# Weights in other files


def _external(tmp_path: Path, change: Callable[[Any], None] = lambda _: None) -> Path:
    path = _file(tmp_path / "n.onnx", [helper.make_node("Conv", ["x", "w"], ["f"]), *_HEAD], _KERNEL)
    model = onnx.load(path)
    onnx.save_model(model, path, save_as_external_data=True, location="n.data", size_threshold=0)
    model = onnx.load(path, load_external_data=False)
    change(model.graph.initializer[0])
    path.write_bytes(model.SerializeToString())
    return path


def _location(value: str) -> Callable[[Any], None]:
    def change(tensor: Any) -> None:
        next(entry for entry in tensor.external_data if entry.key == "location").value = value

    return change


def test_weights_beside_the_file_are_read(tmp_path):
    assert load_model(_external(tmp_path)).classes == 5


def test_a_missing_data_file_is_named(tmp_path):
    path = _external(tmp_path)
    (tmp_path / "n.data").unlink()
    error = _refused(path)
    assert error.found == "no file 'n.data' beside it"
    assert str(tmp_path) in error.hint


def test_a_data_file_that_is_too_short_is_named(tmp_path):
    path = _external(tmp_path)
    (tmp_path / "n.data").write_bytes(b"1234")
    assert _refused(path).found == "'n.data' is too short for 'w'"


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "a/../../secret", "..\\secret"])
def test_a_data_file_outside_the_folder_is_refused(tmp_path, location):
    (tmp_path / "inside").mkdir()
    (tmp_path / "secret").write_bytes(bytes(1000))
    error = _refused(_external(tmp_path / "inside", _location(location)))
    assert "outside its folder" in error.found


def test_a_link_to_a_file_outside_the_folder_is_refused(tmp_path):
    (tmp_path / "inside").mkdir()
    path = _external(tmp_path / "inside")
    (tmp_path / "inside" / "n.data").rename(tmp_path / "secret")
    (tmp_path / "inside" / "n.data").symlink_to(tmp_path / "secret")
    assert "outside its folder" in _refused(path).found
