"""ONNX operators with weights become torch's modules."""

# ruff: noqa: ARG001  (every function of the table takes the node)

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from edgekd.models.onnx.values import OnnxNode, UnsupportedError, Value

Constants = Sequence[Value]


def _fill(module: nn.Module, **tensors: torch.Tensor | None) -> nn.Module:
    """Put values into a module's parameters and buffers."""
    with torch.no_grad():
        for name, tensor in tensors.items():
            if tensor is not None:
                getattr(module, name).copy_(tensor.reshape(getattr(module, name).shape))
    return module


def _are_tensors(constants: Constants, *positions: int) -> bool:
    return all(len(constants) > p and isinstance(constants[p], torch.Tensor) for p in positions)


def _optional(constants: Constants, position: int) -> torch.Tensor | None:
    value = constants[position] if len(constants) > position else None
    return value if isinstance(value, torch.Tensor) else None


def _convolution(node: OnnxNode, constants: Constants) -> nn.Module | None:
    if not _are_tensors(constants, 1):
        return None
    weight, bias = constants[1], _optional(constants, 2)
    kinds: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
    count, groups = weight.dim() - 2, node.get("group", 1)
    # Padding that differs between sides, or depends on the input's size, is a step of its own before this.
    padding = symmetric_padding(node, count) or [0] * count
    module = kinds[count](
        weight.shape[1] * groups,
        weight.shape[0],
        tuple(weight.shape[2:]),
        stride=tuple(node.get("strides") or [1] * count),
        padding=tuple(padding),
        dilation=tuple(node.get("dilations") or [1] * count),
        groups=groups,
        bias=bias is not None,
    )
    return _fill(module, weight=weight, bias=bias)


def symmetric_padding(node: OnnxNode, count: int) -> list[int] | None:
    """Return the padding of a convolution if torch's modules take it, else `None`."""
    if node.get("auto_pad", "NOTSET") == "VALID":
        return [0] * count
    if node.get("auto_pad", "NOTSET") not in ("NOTSET", ""):
        return None
    pads = list(node.get("pads") or [0] * 2 * count)
    return pads[:count] if pads[:count] == pads[count:] else None


def _transposed(node: OnnxNode, constants: Constants) -> nn.Module | None:
    if not _are_tensors(constants, 1):
        return None
    weight, bias = constants[1], _optional(constants, 2)
    kinds: dict[int, Any] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
    count, groups = weight.dim() - 2, node.get("group", 1)
    padding = symmetric_padding(node, count)
    if padding is None or node.get("output_shape"):
        raise UnsupportedError("padding that differs between sides, or an output shape")
    module = kinds[count](
        weight.shape[0],
        weight.shape[1] * groups,
        tuple(weight.shape[2:]),
        stride=tuple(node.get("strides") or [1] * count),
        padding=tuple(padding),
        output_padding=tuple(node.get("output_padding") or [0] * count),
        groups=groups,
        bias=bias is not None,
        dilation=tuple(node.get("dilations") or [1] * count),
    )
    return _fill(module, weight=weight, bias=bias)


def linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Module:
    """Return a linear layer from a weight `[outputs, inputs]`."""
    module = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    return _fill(module, weight=weight, bias=bias)


def _gemm(node: OnnxNode, constants: Constants) -> nn.Module | None:
    has_odd_bias = len(constants) > 2 and constants[2] is not None and not _are_tensors(constants, 2)
    if not _are_tensors(constants, 1) or node.get("transA", 0) or has_odd_bias:
        return None
    weight, bias = constants[1] * node.get("alpha", 1.0), _optional(constants, 2)
    weight = weight if node.get("transB", 0) else weight.t()
    if bias is not None:
        if bias.numel() not in (1, weight.shape[0]):
            return None
        bias = (bias * node.get("beta", 1.0)).reshape(-1).expand(weight.shape[0])
    return linear(weight, bias)


def _matmul(node: OnnxNode, constants: Constants) -> nn.Module | None:
    # The bias, which ONNX adds in a node of its own, is put third by the importer.
    if not _are_tensors(constants, 1) or constants[1].dim() != 2:
        return None
    return linear(constants[1].t(), _optional(constants, 2))


def _batch_norm(node: OnnxNode, constants: Constants) -> nn.Module | None:
    if not _are_tensors(constants, 1, 2, 3, 4):
        return None
    if node.get("training_mode", 0):
        raise UnsupportedError("training mode; export the network in evaluation mode")
    scale, shift, mean, variance = constants[1:5]
    # Its momentum is the share that is kept, torch's the share that is new.
    module = nn.BatchNorm2d(scale.numel(), eps=node.get("epsilon", 1e-5), momentum=1 - node.get("momentum", 0.9))
    return _fill(module, weight=scale, bias=shift, running_mean=mean, running_var=variance)


class AnyBatchNorm(nn.BatchNorm2d):
    """Batch norm for inputs of any rank: how many axes follow the channels is not known from its weights."""

    def _check_input_dim(self, input: torch.Tensor) -> None:  # noqa: A002  # torch's name
        """Accept every rank."""


def _any_batch_norm(node: OnnxNode, constants: Constants) -> nn.Module | None:
    module = _batch_norm(node, constants)
    if module is not None:
        module.__class__ = AnyBatchNorm
    return module


def _instance_norm(node: OnnxNode, constants: Constants) -> nn.Module | None:
    if not _are_tensors(constants, 1, 2):
        return None
    scale, shift = constants[1:3]
    # As many groups as channels: the same, for every rank.
    module = nn.GroupNorm(scale.numel(), scale.numel(), eps=node.get("epsilon", 1e-5))
    return _fill(module, weight=scale, bias=shift)


def _group_norm(node: OnnxNode, constants: Constants) -> nn.Module | None:
    if not _are_tensors(constants, 1, 2):
        return None
    scale, shift = constants[1:3]
    groups = node.get("num_groups")
    if node.opset < 21:
        raise UnsupportedError("one scale for each group, as before operator set 21")
    module = nn.GroupNorm(groups, scale.numel(), eps=node.get("epsilon", 1e-5))
    return _fill(module, weight=scale, bias=shift)


def _layer_norm(node: OnnxNode, constants: Constants) -> nn.Module | None:
    if not _are_tensors(constants, 1):
        return None
    if len([name for name in node.outputs if name]) > 1:
        raise UnsupportedError("the statistics of its input")
    scale, shift = constants[1], _optional(constants, 2)
    if node.get("axis", -1) not in (-scale.dim(), -1) and node.get("axis", -1) < 0:
        raise UnsupportedError(f"axis {node.get('axis')} with a scale of shape {list(scale.shape)}")
    module = nn.LayerNorm(tuple(scale.shape), eps=node.get("epsilon", 1e-5), bias=shift is not None)
    return _fill(module, weight=scale, bias=shift)


def _prelu(node: OnnxNode, constants: Constants) -> nn.Module | None:
    if not _are_tensors(constants, 1):
        return None
    slope = constants[1]
    if slope.numel() != max(slope.shape, default=1):
        raise UnsupportedError(f"a slope of shape {list(slope.shape)}")
    return _fill(nn.PReLU(slope.numel()), weight=slope)


# Each returns a module for the first input, or `None` if its weights are computed.
LAYERS: dict[str, Callable[[OnnxNode, Constants], nn.Module | None]] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "BatchNormalization": _any_batch_norm,
    "InstanceNormalization": _instance_norm,
    "GroupNormalization": _group_norm,
    "LayerNormalization": _layer_norm,
    "PRelu": _prelu,
}
