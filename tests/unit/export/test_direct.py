"""Every form that the direct way to ONNX has computes in onnxruntime what torch does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from networks import CLASSES, INPUT_SHAPE, NETWORKS, images, rebuilt
from torch import fx, nn

from edgekd.export.onnx.direct import emit
from edgekd.export.onnx.export import onnx_model
from edgekd.export.onnx.functions import FUNCTIONS
from edgekd.export.onnx.graph import OnnxGraph, UncoveredError
from edgekd.export.onnx.layers import LAYERS
from edgekd.export.onnx.traced import trace
from edgekd.models.exported import export_program
from edgekd.models.rewrite import rebuild
from edgekd.quantize.fold import fold_batch_norm, module_of
from edgekd.quantize.prepare import calibrate, prepare
from edgekd.records import Precision, TensorSpec

PIXELS = TensorSpec(name="input", shape=INPUT_SHAPE)
TOKENS = TensorSpec(name="input", shape=(6,), dtype="int64")
ROWS = TensorSpec(name="input", shape=(4, 6))


class Of(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


class ClassToken(nn.Module):
    """A learned row in front of the others, as vision transformers have it."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat((self.token.expand(x.shape[0], -1, -1), x), 1)


class Attention(nn.Module):
    def __init__(self, masked: bool) -> None:
        super().__init__()
        self.masked = masked

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.reshape(x.shape[0], 4, 2, 3).transpose(1, 2)
        # The last of four is left out where the first value is negative.
        is_last = torch.tensor([0.0, 0.0, 0.0, 1.0])
        left_out = F.relu6(-1e9 * x[:, :1, :1, :1]) / 6 * is_last
        mask = left_out * torch.finfo(torch.float32).min if self.masked else None
        return F.scaled_dot_product_attention(x, 2 * x, x + 1, attn_mask=mask)


def masked_tokens(x: torch.Tensor) -> torch.Tensor:
    return 1.0 - (x // 3).to(torch.float32)


def norm(module: nn.Module) -> nn.Module:
    """Give a norm the statistics and weights of a trained one."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + (0.5 if "var" in name else 0.1))
    return module.eval()


def shuffle(x: torch.Tensor) -> torch.Tensor:
    return x.view(-1, 3, 2, 4, 8).transpose(1, 2).reshape(-1, 6, 4, 8)


CASES: dict[str, tuple[Callable[[], nn.Module], TensorSpec]] = {
    "convolution": (lambda: nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=(0, 1), dilation=(1, 2)), PIXELS),
    "grouped convolution": (lambda: nn.Conv2d(3, 6, 3, groups=3, bias=False), PIXELS),
    "convolution of the same size": (lambda: nn.Conv2d(3, 4, (4, 3), padding="same"), PIXELS),
    "convolution without padding": (lambda: nn.Conv2d(3, 4, 2, padding="valid"), PIXELS),
    "convolution in one dimension": (lambda: nn.Conv1d(4, 5, 3, padding=1), ROWS),
    "same size in one dimension": (lambda: nn.Conv1d(4, 5, 4, padding="same"), ROWS),
    "transposed": (lambda: nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1), PIXELS),
    "transposed in groups": (lambda: nn.ConvTranspose2d(3, 6, 2, stride=2, groups=3), PIXELS),
    "transposed in one dimension": (lambda: nn.ConvTranspose1d(4, 5, 3, stride=2), ROWS),
    "linear": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), PIXELS),
    "linear without bias": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 5, bias=False)), PIXELS),
    "linear of tokens": (lambda: nn.Linear(6, 5), ROWS),
    "linear of tokens without bias": (lambda: nn.Linear(6, 5, bias=False), ROWS),
    "batch norm": (lambda: norm(nn.BatchNorm2d(3)), PIXELS),
    "batch norm in one dimension": (lambda: norm(nn.BatchNorm1d(4)), ROWS),
    "batch norm without weights": (lambda: norm(nn.BatchNorm2d(3, affine=False)), PIXELS),
    "layer norm": (lambda: norm(nn.LayerNorm(6)), ROWS),
    "layer norm of two axes": (lambda: norm(nn.LayerNorm((4, 6))), ROWS),
    "layer norm without bias": (lambda: norm(nn.LayerNorm(6, bias=False)), ROWS),
    "group norm": (lambda: norm(nn.GroupNorm(2, 4)), ROWS),
    "group norm of images": (lambda: norm(nn.GroupNorm(3, 3)), PIXELS),
    "group norm without weights": (lambda: nn.GroupNorm(1, 3, affine=False), PIXELS),
    "instance norm": (lambda: norm(nn.InstanceNorm2d(3, affine=True)), PIXELS),
    "instance norm without weights": (lambda: nn.InstanceNorm1d(4), ROWS),
    "prelu": (lambda: norm(nn.PReLU(3)), PIXELS),
    "prelu with one slope": (lambda: nn.PReLU(), PIXELS),
    "prelu of features": (lambda: nn.Sequential(nn.Flatten(), norm(nn.PReLU(192))), PIXELS),
    "embedding": (lambda: nn.Embedding(9, 4), TOKENS),
    "relu": (nn.ReLU, PIXELS),
    "relu6": (lambda: nn.Sequential(nn.Hardtanh(-2.0, 2.5), Of(lambda x: F.relu6(9 * x))), PIXELS),
    "hard swish": (lambda: Of(lambda x: F.hardswish(4 * x)), PIXELS),
    "hard sigmoid": (lambda: Of(lambda x: F.hardsigmoid(4 * x)), PIXELS),
    "silu": (nn.SiLU, PIXELS),
    "sigmoid": (nn.Sigmoid, PIXELS),
    "tanh": (nn.Tanh, PIXELS),
    "mish": (nn.Mish, PIXELS),
    "gelu": (nn.GELU, PIXELS),
    "gelu by tanh": (lambda: nn.GELU(approximate="tanh"), PIXELS),
    "softplus": (nn.Softplus, PIXELS),
    "elu": (lambda: nn.ELU(0.7), PIXELS),
    "leaky relu": (lambda: nn.LeakyReLU(0.2), PIXELS),
    "max pooling": (lambda: nn.MaxPool2d((3, 2), stride=2, padding=(1, 0), dilation=(1, 2)), PIXELS),
    "max pooling, rounded up": (lambda: nn.MaxPool2d(3, stride=2, ceil_mode=True), PIXELS),
    "max pooling in one dimension": (lambda: nn.MaxPool1d(2), ROWS),
    "average pooling": (lambda: nn.AvgPool2d(3, stride=2, padding=1), PIXELS),
    "average pooling of what is there": (lambda: nn.AvgPool2d(3, 2, padding=1, count_include_pad=False), PIXELS),
    "average pooling in one dimension": (lambda: nn.AvgPool1d(2), ROWS),
    "global average": (lambda: nn.AdaptiveAvgPool2d(1), PIXELS),
    "average to a size": (lambda: nn.AdaptiveAvgPool2d((4, None)), PIXELS),
    "global average in one dimension": (lambda: nn.AdaptiveAvgPool1d(1), ROWS),
    "padding of channels": (lambda: Of(lambda x: F.pad(x, (0, 0, 0, 0, 2, 1))), PIXELS),
    "a part": (lambda: Of(lambda x: x[:, 1:, ::2]), PIXELS),
    "reshaping": (lambda: Of(lambda x: x.reshape(-1, 6, 4, 8)), PIXELS),
    "shuffling": (lambda: Of(lambda x: shuffle(x.reshape(-1, 6, 4, 8))), PIXELS),
    "dropout": (lambda: nn.Sequential(nn.Dropout(0.5), nn.ReLU()), PIXELS),
    "sum": (lambda: Of(lambda x: x + 2 * x), PIXELS),
    "difference": (lambda: Of(lambda x: (x - 3) - x.relu()), PIXELS),
    "number minus tensor": (lambda: Of(lambda x: 1.5 - x), PIXELS),
    "product": (lambda: Of(lambda x: x * x.relu()), PIXELS),
    "quotient": (lambda: Of(lambda x: x / (x.relu() + 1)), PIXELS),
    "matrix product": (lambda: Of(lambda x: x @ x.transpose(1, 2)), ROWS),
    "maximum": (lambda: Of(lambda x: torch.maximum(x, 0.5 * x)), PIXELS),
    "at least": (lambda: Of(lambda x: x.clamp_min(0.25)), PIXELS),
    "concatenation": (lambda: Of(lambda x: torch.cat((x, x + 1), 2)), PIXELS),
    "squeezing": (lambda: Of(lambda x: x.unsqueeze(2).unsqueeze(-1).squeeze(-1)), PIXELS),
    "one of an axis": (lambda: Of(lambda x: x.select(2, 3)), PIXELS),
    "mean": (lambda: Of(lambda x: x.mean((1, 2), keepdim=True)), PIXELS),
    "total": (lambda: Of(lambda x: x.sum((2, 3))), PIXELS),
    "largest": (lambda: Of(lambda x: x.amax(1)), PIXELS),
    "length": (lambda: Of(lambda x: torch.linalg.vector_norm(x, dim=1, keepdim=True)), PIXELS),
    "softmax": (lambda: Of(lambda x: x.softmax(-1)), ROWS),
    "logarithm of softmax": (lambda: Of(lambda x: x.log_softmax(1)), ROWS),
    "attention": (lambda: Attention(masked=False), ROWS),
    "attention with a mask": (lambda: Attention(masked=True), ROWS),
    "causal attention": (lambda: Of(lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True)), ROWS),
    "class token": (ClassToken, ROWS),
    "mask from tokens": (lambda: Of(lambda x: 1 - x.to(torch.float32) * 0.125), TOKENS),
    "integers": (lambda: Of(lambda x: (x * 3 + 1).to(torch.float32)), TOKENS),
    "enlargement": (lambda: Of(lambda x: F.interpolate(x, scale_factor=2.0)), PIXELS),
}
UNCOVERED: dict[str, tuple[Callable[[], nn.Module], TensorSpec]] = {
    "last window in the padding": (
        lambda: nn.MaxPool2d(2, stride=2, padding=1, ceil_mode=True),
        TensorSpec(name="input", shape=(3, 7, 7)),
    ),
    "average, rounded up": (lambda: nn.AvgPool2d(3, stride=2, ceil_mode=True), PIXELS),
    "sizes that do not divide": (lambda: nn.AdaptiveAvgPool2d(3), PIXELS),
    "integers and fractions": (lambda: Of(lambda x: x * 0.5), TOKENS),
    "cosine": (lambda: Of(torch.cos), PIXELS),
}


def network_of(module: nn.Module, spec: TensorSpec) -> fx.GraphModule:
    torch.manual_seed(0)
    return rebuild(export_program(module.eval(), (draw(spec, 2),)))


def draw(spec: TensorSpec, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    if spec.dtype == "int64":
        return torch.randint(0, 9, (count, *spec.shape), generator=generator)
    return torch.randn(count, *spec.shape, generator=generator)


def run(model: object, x: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"input": x.numpy()})[0])


@pytest.mark.parametrize("in_half", [False, True], ids=["fp32", "fp16"])
@pytest.mark.parametrize("name", CASES)
def test_a_form_computes_what_torch_does_for_any_batch(name, in_half):
    make, spec = CASES[name]
    torch.manual_seed(0)
    network = network_of(make(), spec)
    model = emit(network, in_half=in_half, inputs=(spec,), outputs=("logits",))
    for count in (1, 3):
        x = draw(spec, count)
        with torch.no_grad():
            expected = network(x)
        found = run(model, x)
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        scale = float(expected.abs().max())
        torch.testing.assert_close(found, expected, rtol=0, atol=(3e-3 if in_half else 2e-6) * max(scale, 1e-3))


def test_every_form_is_tried():
    tried: set[object] = set()
    for make, spec in CASES.values():
        network = network_of(make(), spec)
        tried |= {type(module_of(network, node)) for node in network.graph.nodes}
        tried |= {node.target for node in network.graph.nodes if node.op in ("call_function", "call_method")}
    # `_to_copy` is what older exporters write for `to`; an identity is dropped when a program is rebuilt.
    spared = {torch.ops.aten._to_copy.default, nn.Identity}
    assert not (set(LAYERS) | set(FUNCTIONS)) - tried - spared


@pytest.mark.parametrize("name", UNCOVERED)
def test_what_has_no_direct_form_is_traced(name):
    make, spec = UNCOVERED[name]
    network, x = network_of(make(), spec), draw(spec, 3)
    with pytest.raises(UncoveredError):
        emit(network, in_half=False, inputs=(spec,), outputs=("logits",))
    with torch.no_grad():
        expected = network(x)
    found = run(onnx_model(network, precision="fp32", inputs=(spec,)), x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


# Both ways


def _both(name: str, precision: Precision) -> tuple[object, object, fx.GraphModule]:
    network = rebuilt(name)
    if precision == "int8":
        network = prepare(network)
        calibrate(network, [images(32, seed) for seed in range(2)])
    else:
        network = fold_batch_norm(network)
    options = {"in_half": precision == "fp16", "inputs": (PIXELS,), "outputs": ("logits",)}
    return emit(network, **options), trace(network, **options), network


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("name", ["padded", "squeeze_excite"])
def test_the_direct_and_the_traced_way_agree(name, precision):
    direct, traced, _ = _both(name, precision)
    x = images(64, seed=3)
    ours, theirs = run(direct, x), run(traced, x)
    assert ours.shape == (64, CLASSES)
    # One step of an activation at most, where an average is computed in integers.
    assert (ours - theirs).abs().mean() <= {"fp32": 1e-6, "fp16": 2e-3, "int8": 2e-2}[precision] * float(
        theirs.abs().max()
    )
    assert direct.ByteSize() <= traced.ByteSize()


def test_the_networks_of_the_library_need_no_tracing():
    uncovered = []
    for name in NETWORKS:
        try:
            emit(rebuilt(name), in_half=False, inputs=(PIXELS,), outputs=("logits",))
        except UncoveredError:
            uncovered.append(name)
    assert uncovered == ["unknown"]


# The graph


def test_equal_constants_are_stored_once_and_unequal_ones_apart():
    graph = OnnxGraph()
    first = graph.constant(torch.ones(3))
    assert graph.constant(np.ones(3, dtype=np.float32)) == first
    others = [graph.constant(torch.ones(3, 1)), graph.constant(torch.ones(3, dtype=torch.int8)), graph.number(1.0)]
    assert len({first, *others}) == 4


def test_in_half_numbers_beyond_its_range_become_its_largest_and_infinities_stay():
    graph = OnnxGraph(in_half=True)
    name = graph.constant(torch.tensor([1e9, -3.4e38, float("-inf"), 0.5]))
    graph.add("Identity", name, output="logits")
    model = graph.model((), (("logits", torch.float16),))
    (found,) = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {})
    assert found.tolist() == [65504.0, -65504.0, float("-inf"), 0.5]


class _SameTwice(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        y = x.relu()
        return y, x, y


@pytest.mark.parametrize("in_half", [False, True], ids=["fp32", "fp16"])
def test_outputs_that_are_one_value_or_an_input_have_their_names(in_half):
    network = network_of(_SameTwice(), PIXELS)
    model = emit(network, in_half=in_half, inputs=(PIXELS,), outputs=("a", "b", "c"))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = images(2)
    a, b, c = session.run(["a", "b", "c"], {"input": x.numpy()})
    for found, expected in ((a, x.relu()), (b, x), (c, x.relu())):
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=0, atol=2e-3 if in_half else 0)
