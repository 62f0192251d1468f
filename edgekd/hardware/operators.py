"""A population of networks as arrays, and the work of each operator that cost models put a price on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]

OPS = ("conv", "transposed", "depthwise", "linear", "matmul", "pool", "add", "scale", "order", "other")
_WEIGHTED = ("conv", "transposed", "depthwise", "linear")
_COMPUTE = (*_WEIGHTED, "matmul")
_CONVOLUTIONS = ("conv", "transposed")
VARIANTS = ("", "curved", "max", "product")
# What an operator is described by, beside its kind.
COLUMNS = (
    *("kernel_area", "stride", "groups", "inputs"),
    *("in_pixels", "out_pixels", "in_channels", "out_channels"),
)
# Images have 3 channels or 1: a convolution that reads so few cannot fill vector lanes along the channels.
_STEM_CHANNELS = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Operators:
    """The operators of many networks of one architecture that differ in their widths only.

    Batch norm and activation functions belong to the operator they are fused into and are not listed. For tokens, a
    pixel is a token. A `matmul` is a product of two computed tensors; its input channels are what it sums over. A
    `scale` only stores values for each channel (a norm that is not folded, an embedding) and costs nothing else.
    An `order` gives channels another order, from a table of one index each. `other` stands for what else moves values:
    concatenation, padding, layout.

    Attributes:
        names: Of the operators, for messages.
        op: One of `OPS` for each operator.
        kernel_area: Kernel height times width, `[layers]`; 1 where there is no kernel; of a `scale` its values a
            channel.
        stride: `[layers]`.
        groups: Of a `conv`, `[layers]`; a `depthwise` has as many as channels, whatever stands here.
        in_pixels: Height times width of the input, `[layers]`.
        out_pixels: Height times width of the output, `[layers]`.
        inputs: Number of input tensors, `[layers]`; 2 for an addition.
        in_channels: Of each input tensor, `[plans, layers]`.
        out_channels: `[plans, layers]`.
        variant: What else runtimes tell apart, `[layers]`: a pool that takes the `max`, an `add` that multiplies,
            `product`, any other operator with an activation behind it that is no ReLU, `curved`; otherwise empty.
        repeats: Whether a layer's weights are those of an earlier one, `[layers]`; by default none are.
    """

    names: tuple[str, ...]
    op: tuple[str, ...]
    kernel_area: Integers
    stride: Integers
    groups: Integers
    in_pixels: Integers
    out_pixels: Integers
    inputs: Integers
    in_channels: Integers
    out_channels: Integers
    repeats: npt.NDArray[np.bool_] | None = None
    variant: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        layers = len(self.names)
        object.__setattr__(self, "variant", self.variant or ("",) * layers)
        if len(self.variant) != layers or not set(self.variant) <= set(VARIANTS):
            raise ValueError(f"each of the {layers} operators needs one of {VARIANTS}, not {self.variant}")
        if len(self.op) != layers or not set(self.op) <= set(OPS):
            raise ValueError(f"each of the {layers} operators needs one of {OPS}, not {self.op}")
        for name in ("kernel_area", "stride", "groups", "in_pixels", "out_pixels", "inputs"):
            if getattr(self, name).shape != (layers,):
                raise ValueError(f"{name} must be [layers] = ({layers},), not {getattr(self, name).shape}")
        plans = self.in_channels.shape[:1]
        for name in ("in_channels", "out_channels"):
            if getattr(self, name).shape != (*plans, layers):
                raise ValueError(f"{name} must be [plans, layers], not {getattr(self, name).shape}")

    @classmethod
    def from_columns(
        cls, op: Sequence[str], variant: Sequence[str], columns: Mapping[str, Sequence[float] | Integers]
    ) -> Operators:
        """Return one plan of operators that are named by their numbers; `columns` has a list for each of `COLUMNS`."""
        values = {name: np.asarray(columns[name]).astype(np.int64) for name in COLUMNS}
        values["in_channels"], values["out_channels"] = values["in_channels"][None], values["out_channels"][None]
        names = tuple(str(number) for number in range(len(op)))
        return cls(names=names, op=tuple(op), variant=tuple(variant), repeats=None, **values)

    def columns(self) -> dict[str, Integers]:
        """Return the numbers of the first plan's operators, a list for each of `COLUMNS`."""
        values = {name: getattr(self, name) for name in COLUMNS}
        return values | {"in_channels": self.in_channels[0], "out_channels": self.out_channels[0]}

    def plan(self, index: int) -> Operators:
        """Return the operators of one plan."""
        chosen = slice(index, index + 1)
        return dataclasses.replace(self, in_channels=self.in_channels[chosen], out_channels=self.out_channels[chosen])

    @property
    def macs(self) -> npt.NDArray[np.int64]:
        """Multiply-accumulates, `[plans, layers]`."""
        # Every pixel that a transposed convolution reads goes through the whole kernel.
        pixels = np.where(self._is("transposed"), self.in_pixels, self.out_pixels)
        return self._connections * pixels.astype(np.int64)

    @property
    def weight_elements(self) -> npt.NDArray[np.int64]:
        """Weights and biases of each layer, `[plans, layers]`; every layer with weights has a bias."""
        weights = np.where(self._is(*_WEIGHTED), self._connections + self.out_channels, 0)
        values = np.where(self._is("scale"), self.out_channels * self.kernel_area, weights).astype(np.int64)
        return values if self.repeats is None else np.where(self.repeats, 0, values)

    @property
    def input_elements(self) -> npt.NDArray[np.int64]:
        """Elements read from all input tensors, without weights, `[plans, layers]`."""
        return np.where(self._is("scale"), 0, self.in_channels * (self.inputs * self.in_pixels)).astype(np.int64)

    @property
    def output_elements(self) -> npt.NDArray[np.int64]:
        """Elements written, `[plans, layers]`."""
        return np.where(self._is("scale"), 0, self.out_channels * self.out_pixels).astype(np.int64)

    @property
    def is_compute(self) -> npt.NDArray[np.bool_]:
        """Which operators multiply, and not only move values, `[layers]`."""
        return self._is(*_COMPUTE)

    @property
    def _connections(self) -> npt.NDArray[np.int64]:
        # Weights without bias, which is also the number of multiplications for each output pixel.
        outputs = self.out_channels.astype(np.int64)
        dense = outputs * self.in_channels // np.where(self._is(*_CONVOLUTIONS), self.groups, 1)
        per_kernel = np.where(self._is("depthwise"), outputs, dense)
        return np.where(self._is(*_COMPUTE), per_kernel * self.kernel_area, 0)

    def _is(self, *ops: str) -> npt.NDArray[np.bool_]:
        return np.isin(self.op, ops)


def _kinds(operators: Operators) -> dict[str, npt.NDArray[np.bool_]]:
    """Return which operators compute in which way, `[layers]` or `[plans, layers]`; every one with MACs is of one kind.

    A grouped convolution counts as a spatial one whatever its kernel: its groups are too small for the matrix
    kernels that 1x1 convolutions run in.
    """
    is_conv = np.isin(operators.op, _CONVOLUTIONS)
    is_stem = is_conv & (operators.in_channels <= _STEM_CHANNELS)
    is_dense = is_conv & (operators.groups == 1)
    is_pointwise = is_dense & (operators.kernel_area == 1)
    is_winograd = is_dense & (operators.kernel_area == 9) & (operators.stride == 1)
    return {
        "pointwise_gmacs": is_pointwise & ~is_stem,
        "spatial_gmacs": is_conv & ~is_stem & ~is_pointwise & ~is_winograd,
        "winograd_gmacs": is_winograd & ~is_stem,
        "stem_gmacs": is_stem,
        "depthwise_gmacs": np.isin(operators.op, ("depthwise",)),
        "linear_gmacs": np.isin(operators.op, ("linear", "matmul")),
    }


# `winograd` are 3x3 convolutions of stride 1, for which most runtimes have Winograd's algorithm. Batch norm and
# activations are fused, so a launch is one operator of the list; those without multiplications are counted apart,
# because runtimes fuse an addition or a pad into its neighbour more often than not.
MAC_FEATURES = (
    "pointwise_gmacs",
    "spatial_gmacs",
    "winograd_gmacs",
    "stem_gmacs",
    "depthwise_gmacs",
    "linear_gmacs",
)
MOVED_FEATURES = ("activation_melements", "weight_melements")
LAUNCH_FEATURES = ("compute_launches", "other_launches")
FEATURES = MAC_FEATURES + MOVED_FEATURES + LAUNCH_FEATURES


def features_by_operator(operators: Operators) -> Floats:
    """Return what each operator of each plan does, `[plans, layers, features]`, in the order of `FEATURES`."""
    gmacs = operators.macs / 1e9
    is_compute, is_launch = operators.is_compute, ~np.isin(operators.op, ("scale",))
    columns = [np.where(chosen, gmacs, 0.0) for chosen in _kinds(operators).values()]
    columns.append((operators.input_elements + operators.output_elements) / 1e6)
    columns.append(operators.weight_elements / 1e6)
    columns += [np.broadcast_to(chosen, gmacs.shape) for chosen in (is_compute, is_launch & ~is_compute)]
    result: Floats = np.stack(columns, axis=-1).astype(np.float64)
    return result


def features(operators: Operators) -> Floats:
    """Return the features of each plan, `[plans, features]`: the sums over its operators."""
    total: Floats = features_by_operator(operators).sum(axis=1)
    return total


def elements(operators: Operators) -> Floats:
    """Return what each operator moves: millions of weights, inputs and outputs, `[plans, layers]`."""
    moved: Floats = (operators.weight_elements + operators.input_elements + operators.output_elements) / 1e6
    return moved
