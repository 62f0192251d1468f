"""Put fake quantization where the integer runtime will quantize."""

from __future__ import annotations

import operator
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import fx, nn

from edgekd.models.layers import ChannelPad, ChannelShuffle, Reshape, Slice
from edgekd.quantize.fold import fold_batch_norm, module_of
from edgekd.quantize.modules import ActivationQuantizer, QuantizedLayer

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear)
_FUSED_ACTIVATIONS = (nn.ReLU, nn.ReLU6)
_OTHER_ACTIVATIONS = (nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.Sigmoid, nn.LeakyReLU, nn.Hardtanh, nn.PReLU)
_SMOOTH = (nn.GELU, nn.Tanh, nn.ELU, nn.Mish, nn.Softplus)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.GroupNorm, nn.LayerNorm)
_AVERAGES = (nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)
_MOVING_MODULES = (nn.MaxPool1d, nn.MaxPool2d, ChannelPad, ChannelShuffle, Reshape, Slice, nn.Dropout)
_MOVING_FUNCTIONS = (torch.flatten, torch.permute, torch.squeeze, torch.unsqueeze, torch.select)
_SCORE_OPERATORS = (operator.add, operator.sub, operator.mul, operator.truediv, torch.matmul)
_ARITHMETIC = (operator.add, operator.mul, torch.cat, torch.matmul, F.scaled_dot_product_attention)


def prepare(network: fx.GraphModule) -> fx.GraphModule:
    """Return the network with batch norm folded and fake quantization in place, ready for calibration or training.

    Quantized are the input, the output of every layer, sum, product, concatenation, average and activation (after the
    ReLU that is fused into it), but not the logits. Operators that only move values (max pooling, slicing, padding,
    flattening) keep the range of their input. Operators this module does not know are computed in float.
    """
    prepared = fold_batch_norm(network)
    quantizers: dict[fx.Node, str] = {}
    for node in list(prepared.graph.nodes):
        if _is_quantized(prepared, node):
            _insert_quantizer(prepared, node, quantizers)
    calls = [node for node in prepared.graph.nodes if isinstance(module_of(prepared, node), _LAYERS)]
    # A layer that is called twice, and once with floats, is computed in float both times.
    in_float = {node.target for node in calls if quantizer_before(prepared, node.all_input_nodes[0]) is None}
    for node in calls:
        if node.target not in in_float:
            _quantize_layer(prepared, node)
    prepared.graph.lint()
    prepared.recompile()
    return prepared


def calibrate(prepared: fx.GraphModule, batches: Iterable[torch.Tensor | tuple[torch.Tensor, ...]]) -> None:
    """Estimate the ranges of a prepared network from batches of its input, or inputs, without training it."""
    set_observing(prepared, is_observing=True)
    prepared.eval()
    with torch.no_grad():
        for batch in batches:
            prepared(*batch) if isinstance(batch, tuple) else prepared(batch)
    set_observing(prepared, is_observing=False)


def set_observing(prepared: nn.Module, *, is_observing: bool) -> None:
    """Let the ranges of a prepared network move, or freeze them."""
    for module in prepared.modules():
        if isinstance(module, ActivationQuantizer):
            module.is_observing = is_observing


def moves_values(network: fx.GraphModule, node: fx.Node) -> bool:
    """Say whether a node only moves values, so that its output has the range of its input."""
    if node.op == "call_function":
        return node.target in _MOVING_FUNCTIONS
    return isinstance(module_of(network, node), _MOVING_MODULES)


def quantizer_before(network: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    """Return the quantizer node whose range the value of `node` has, or None if it is float."""
    while moves_values(network, node):
        node = node.all_input_nodes[0]
    return node if isinstance(module_of(network, node), ActivationQuantizer) else None


def _is_quantized(network: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "placeholder":
        return bool(node.meta["dtype"].is_floating_point)
    users = list(node.users)
    if any(user.op == "output" for user in users):
        return False
    module = module_of(network, node)
    if _only_feeds_softmax(node):
        # Scores stay float: a mask adds numbers to them that are far larger than what is told apart.
        return False
    if isinstance(module, _LAYERS + _NORMS) or (node.op == "call_function" and node.target in _ARITHMETIC):
        return not (len(users) == 1 and isinstance(module_of(network, users[0]), _FUSED_ACTIVATIONS))
    return isinstance(module, _FUSED_ACTIVATIONS + _OTHER_ACTIVATIONS + _SMOOTH + _AVERAGES)


def _only_feeds_softmax(node: fx.Node) -> bool:
    is_score = node.op == "call_function" and node.target in _SCORE_OPERATORS and len(node.users) > 0
    return is_score and all(user.target is torch.softmax or _only_feeds_softmax(user) for user in node.users)


def _insert_quantizer(network: fx.GraphModule, node: fx.Node, quantizers: dict[fx.Node, str]) -> None:
    name = f"quantizer_{node.name}"
    network.add_submodule(name, ActivationQuantizer())
    quantizers[node] = name
    with network.graph.inserting_after(node):
        quantized = network.graph.call_module(name, (node,))
    quantized.meta = dict(node.meta)
    node.replace_all_uses_with(quantized, delete_user_cb=lambda user: user is not quantized)


def _quantize_layer(network: fx.GraphModule, node: fx.Node) -> None:
    source = node.all_input_nodes[0]
    quantizer, layer = quantizer_before(network, source), module_of(network, node)
    assert quantizer is not None  # the caller has looked
    if isinstance(layer, _LAYERS):  # not yet replaced by an earlier call of the same layer
        parent, _, name = str(node.target).rpartition(".")
        setattr(network.get_submodule(parent), name, QuantizedLayer(layer))
    with network.graph.inserting_before(node):
        scale = network.graph.get_attr(f"{quantizer.target}.scale")
    node.args = (source, scale)
