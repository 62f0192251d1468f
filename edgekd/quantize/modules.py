"""The modules of a network under fake quantization.

The arithmetic is onnxruntime's: activations uint8 per tensor with zero in the range (so zero point 0 after a ReLU),
weights int8 in [-127, 127] symmetric per output channel, bias rounded to int32 steps of input scale times weight scale.
Simulating the bias too is what makes the exported file agree (docs/decisions.md).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

QMAX_ACTIVATION = 255
QMAX_WEIGHT = 127
_SMALLEST_SCALE = 1e-8
Layer = nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.Linear
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d)


class _FakeQuantize(torch.autograd.Function):
    """`torch.fake_quantize_per_tensor_affine` to uint8, bit for bit, in vectorized operators.

    Torch's own kernel goes through the values one by one: 8 ms instead of 1 for `[128, 16, 32, 32]` on two cores.
    The gradient passes where the value was not clamped (straight-through).
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor) -> torch.Tensor:
        lowest = -float(zero_point)
        highest = lowest + QMAX_ACTIVATION
        ctx.save_for_backward(x)
        ctx.edges = (lowest - 0.5) * float(scale), (highest + 0.5) * float(scale)
        return (x * (1.0 / scale)).round_().clamp_(lowest, highest).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(gradients[0], x, *ctx.edges), None, None


def _in_memory_order(x: torch.Tensor) -> torch.Tensor:
    """Return a view whose last axis is the one that is dense in memory: reductions over all of it need no copy."""
    return x.permute(0, 2, 3, 1) if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last) else x


class ActivationQuantizer(nn.Module):
    """Fake-quantize a tensor to uint8 with a range estimated by a moving average of minima and maxima.

    While `is_observing`, every call moves the range; the first call sets it. The range always contains zero.
    """

    low: torch.Tensor
    high: torch.Tensor
    scale: torch.Tensor
    zero_point: torch.Tensor

    def __init__(self, momentum: float = 0.05) -> None:
        super().__init__()
        self.momentum = momentum
        self.is_observing = True
        self.register_buffer("low", torch.tensor(0.0))
        self.register_buffer("high", torch.tensor(0.0))
        self.register_buffer("scale", torch.tensor(1.0))
        self.register_buffer("zero_point", torch.tensor(0, dtype=torch.int32))

    def observe(self, x: torch.Tensor) -> None:
        """Move the range towards the minimum and maximum of `x`."""
        low, high = torch.aminmax(_in_memory_order(x.detach()))
        low, high = low.clamp(max=0.0), high.clamp(min=0.0)
        rate = self.momentum if bool(self.high > self.low) else 1.0
        self.low.lerp_(low, rate)
        self.high.lerp_(high, rate)
        self.scale.copy_(((self.high - self.low) / QMAX_ACTIVATION).clamp(min=_SMALLEST_SCALE))
        self.zero_point.copy_((-self.low / self.scale).round().clamp(0, QMAX_ACTIVATION))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return `x` rounded to the 256 representable values."""
        if self.is_observing:
            self.observe(x)
        quantized: torch.Tensor = _FakeQuantize.apply(x, self.scale, self.zero_point)  # type: ignore[no-untyped-call]
        return quantized


class _RoundBias(torch.autograd.Function):
    """Round to multiples of a step; the gradient passes as if nothing had happened (straight-through)."""

    @staticmethod
    def forward(_ctx: Any, bias: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        return torch.round(bias / step) * step

    @staticmethod
    def backward(_ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradients[0], None


class QuantizedLayer(nn.Module):
    """A convolution or linear layer with fake-quantized weight and bias.

    Called with the input and the scale of the input's quantizer, which the bias's step depends on.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.layer = layer
        # A transposed convolution has its outputs in the second axis of the weight, one step for all of its groups.
        self.axis = 1 if isinstance(layer, TRANSPOSED) else 0

    def weight_scale(self) -> torch.Tensor:
        """The step of the weights along `axis`."""
        largest = self.layer.weight.detach().movedim(self.axis, 0).flatten(1).abs().amax(1)
        return (largest / QMAX_WEIGHT).clamp(min=_SMALLEST_SCALE)

    def bias_step(self, scale: torch.Tensor, input_scale: torch.Tensor) -> torch.Tensor:
        """The step of each output channel's bias, `[channels]`."""
        return (scale * input_scale).repeat(self.layer.groups if isinstance(self.layer, TRANSPOSED) else 1)

    def forward(self, x: torch.Tensor, input_scale: torch.Tensor) -> torch.Tensor:
        """Return what the integer kernel returns before its output is quantized."""
        scale = self.weight_scale()
        zero = torch.zeros_like(scale, dtype=torch.int32)
        weight = torch.fake_quantize_per_channel_affine(
            self.layer.weight, scale, zero, self.axis, -QMAX_WEIGHT, QMAX_WEIGHT
        )
        bias = self.layer.bias
        if bias is not None:
            bias = _RoundBias.apply(bias, self.bias_step(scale, input_scale))  # type: ignore[no-untyped-call]  # torch's
        return apply_layer(self.layer, x, weight, bias)


def apply_layer(layer: Layer, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Return what `layer` returns with this weight and bias instead of its own."""
    if isinstance(layer, nn.Linear):
        return F.linear(x, weight, bias)
    if isinstance(layer, TRANSPOSED):
        function: Any = F.conv_transpose2d if isinstance(layer, nn.ConvTranspose2d) else F.conv_transpose1d
        options = (layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation)
        transposed: torch.Tensor = function(x, weight, bias, *options)
        return transposed
    output: torch.Tensor = layer._conv_forward(x, weight, bias)
    return output
