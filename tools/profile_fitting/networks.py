"""Networks that others measured, as `edgekd.hardware` counts their operators.

The README of the device-data folder describes its files.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.hardware.cost import Operators


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A network and what it cost. Families are held out together; so are the rows of one architecture."""

    name: str
    family: str
    architecture: str
    operators: Operators
    latency_us: float
    energy_uj: float | None = None


Key = Callable[[Measured], str]


def architecture(network: Measured) -> str:
    """Return what the rows of one architecture have in common."""
    return network.architecture


def family(network: Measured) -> str:
    """Return what the networks of one family have in common."""
    return network.family


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One operator, with its number of channels."""

    op: str
    kernel_area: int = 1
    stride: int = 1
    groups: int = 1
    in_pixels: int
    out_pixels: int
    inputs: int = 1
    in_channels: int
    out_channels: int


def to_operators(layers: Sequence[Layer]) -> Operators:
    """Return the layers as a population of one plan."""

    def column(name: str) -> Any:
        return np.array([getattr(layer, name) for layer in layers], dtype=np.int64)

    return Operators(
        names=tuple(str(index) for index in range(len(layers))),
        op=tuple(layer.op for layer in layers),
        kernel_area=column("kernel_area"),
        stride=column("stride"),
        groups=column("groups"),
        in_pixels=column("in_pixels"),
        out_pixels=column("out_pixels"),
        inputs=column("inputs"),
        in_channels=column("in_channels")[None],
        out_channels=column("out_channels")[None],
    )


def published_operators(folder: Path) -> dict[str, Operators]:
    """Return the networks of the MLPerf, TF-slim and torchvision tables by name."""
    with gzip.open(folder / "published_network_layers.json.gz", "rt", encoding="utf-8") as file:
        networks = json.load(file)
    return {name: to_operators([_published(row) for row in entry["layers"]]) for name, entry in networks.items()}


def _published(row: dict[str, Any]) -> Layer:
    kinds = {"conv": "conv", "dw": "depthwise", "fc": "linear", "pool": "pool", "eltwise": "add"}
    in_channels, in_height, in_width = row["in_chw"]
    out_channels, out_height, out_width = row["out_chw"]
    op = kinds.get(row["type"], "other")
    return Layer(
        op=op,
        kernel_area=row["k"][0] * row["k"][1] if op != "add" else 1,
        stride=row["stride"],
        groups=row["groups"] if op == "conv" else 1,
        in_pixels=in_height * in_width,
        out_pixels=out_height * out_width,
        inputs=row["in_elems"] // (in_channels * in_height * in_width),
        in_channels=in_channels,
        out_channels=out_channels,
    )


# They move no data when the network runs.
_FREE = ("Input", "Split", "MemoryData", "Dropout", "Noop", "Flatten", "Reshape")


def ncnn_operators(folder: Path) -> dict[str, Operators]:
    """Return the networks of ncnn's benchmark by name."""
    with gzip.open(folder / "ncnn_layers.json.gz", "rt", encoding="utf-8") as file:
        networks = json.load(file)["models"]
    return {
        name: to_operators([_ncnn(row) for row in entry["layers"] if row["type"] not in _FREE])
        for name, entry in networks.items()
    }


def _ncnn(row: dict[str, Any]) -> Layer:
    if row["type"] not in ("Convolution", "ConvolutionDepthWise", "InnerProduct"):
        op = {"Pooling": "pool", "Eltwise": "add", "BinaryOp": "add"}.get(row["type"], "other")
        # Concatenations and slices have several shapes; only the number of elements matters.
        return Layer(op=op, in_pixels=1, out_pixels=1, in_channels=row["in_elems"], out_channels=row["out_elems"])
    if row["type"] == "InnerProduct":
        return Layer(op="linear", in_pixels=1, out_pixels=1, in_channels=row["in_elems"], out_channels=row["out_elems"])
    in_channels, in_height, in_width = row["in_chw"]
    out_channels, out_height, out_width = row["out_chw"]
    groups = row.get("groups", 1)
    return Layer(
        op="depthwise" if groups == in_channels > 1 else "conv",
        kernel_area=row["k"][0] * row["k"][1],
        stride=row["stride"][0],
        groups=groups,
        in_pixels=in_height * in_width,
        out_pixels=out_height * out_width,
        in_channels=in_channels,
        out_channels=out_channels,
    )


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
