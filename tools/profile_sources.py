"""Read published measurements of whole networks from a device-data folder.

The folder's README describes its files and their licences. Here every network becomes one `Measured`: its
operators as `edgekd.hardware` counts them, and what was measured. Fitting is left to `profile_fit`.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterable, Sequence
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


_NONE, _SKIP, _POOL, _CONV1, _CONV3 = range(5)
_EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


def nas_bench_201(ops: Sequence[int], *, side: int = 32, classes: int = 10) -> Operators:
    """Return a network of the search space; `ops` are its six edges in the order of the architecture string.

    Source: Dong and Yang, NAS-Bench-201, ICLR 2020, https://arxiv.org/abs/2001.00326, section 2. ReLUs before the
    convolutions cannot be fused into them and are listed; edges that do not reach the output are not.
    """
    cell = _live_edges(ops)
    layers = [_conv(3, 16, side, kernel=3)]
    channels = 16
    for stage in range(3):
        if stage:
            side //= 2
            layers += _reduction(channels, side)
            channels *= 2
        for _ in range(5):
            layers += _cell(cell, channels, side)
    layers.append(_same("other", channels, side))
    layers.append(Layer(op="pool", in_pixels=side**2, out_pixels=1, in_channels=channels, out_channels=channels))
    layers.append(Layer(op="linear", in_pixels=1, out_pixels=1, in_channels=channels, out_channels=classes))
    return to_operators(layers)


def _live_edges(ops: Sequence[int]) -> list[tuple[int, int]]:
    edges = [(edge, op) for edge, op in zip(_EDGES, ops, strict=True) if op != _NONE]
    reached, needed = {0}, {3}
    for (start, end), _ in edges:  # in the order of their ends
        if start in reached:
            reached.add(end)
    for (start, end), _ in reversed(edges):
        if end in needed:
            needed.add(start)
    return [(end, op) for (start, end), op in edges if start in reached and end in needed]


def _cell(edges: Iterable[tuple[int, int]], channels: int, side: int) -> list[Layer]:
    layers: list[Layer] = []
    arrived: set[int] = set()
    for end, op in edges:
        if op in (_CONV1, _CONV3):
            kernel = 3 if op == _CONV3 else 1
            layers += [_same("other", channels, side), _conv(channels, channels, side, kernel=kernel)]
        elif op == _POOL:
            layers.append(_same("pool", channels, side))
        if end in arrived:
            layers.append(_same("add", channels, side, inputs=2))
        arrived.add(end)
    return layers


def _reduction(channels: int, side: int) -> list[Layer]:
    wide = 2 * channels
    return [
        _same("other", channels, 2 * side),
        _conv(channels, wide, side, kernel=3, stride=2),
        _same("other", wide, side),
        _conv(wide, wide, side, kernel=3),
        Layer(
            op="pool",
            stride=2,
            in_pixels=4 * side**2,
            out_pixels=side**2,
            in_channels=channels,
            out_channels=channels,
        ),
        _conv(channels, wide, side, kernel=1),
        _same("add", wide, side, inputs=2),
    ]


def _conv(in_channels: int, out_channels: int, side: int, *, kernel: int, stride: int = 1) -> Layer:
    return Layer(
        op="conv",
        kernel_area=kernel**2,
        stride=stride,
        in_pixels=(side * stride) ** 2,
        out_pixels=side**2,
        in_channels=in_channels,
        out_channels=out_channels,
    )


def _same(op: str, channels: int, side: int, *, inputs: int = 1) -> Layer:
    pixels = side**2
    return Layer(op=op, in_pixels=pixels, out_pixels=pixels, inputs=inputs, in_channels=channels, out_channels=channels)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


_MLPERF_FAMILIES = ("mobilenet-v1", "mobilenet-v2", "mobilenet-v3", "efficientnet-lite", "resnet50")


def mlperf_rpi4(folder: Path, *, runtime: str, precision: str, edition: str) -> list[Measured]:
    """Return Krai's MLPerf Inference runs on the Raspberry Pi 4: median latency, wall energy where logged."""
    networks = published_operators(folder)
    measured = []
    for row in read_rows(folder / "published_measurements.csv"):
        stated = (row["device"], row["unit"], row["runtime"], row["precision"], row["trust"])
        if stated != ("Raspberry Pi 4B", "cpu", runtime, precision, "high"):
            continue
        if row["source"] != f"mlcommons/inference_results_{edition}":
            continue
        name = row["model"]
        for suffix in ("-non-quantized", "-quantized", "_float", "_uint8"):
            name = name.removesuffix(suffix)
        family = next(family for family in _MLPERF_FAMILIES if name.startswith(family))
        measured.append(
            Measured(
                name=name,
                family=family,
                architecture=name,
                operators=networks[name],
                latency_us=float(row["p50_ms"]) * 1000,
                energy_uj=float(row["energy_mj"]) * 1000 if row["energy_mj"] else None,
            )
        )
    return sorted(measured, key=lambda network: network.name)


def slim_tx2(folder: Path, *, precision: str) -> list[Measured]:
    """Return NVIDIA's TensorRT 3 table of TF-slim networks on the Jetson TX2."""
    networks = published_operators(folder)
    return sorted(
        (
            Measured(
                name=row["model"],
                family=row["model"].removeprefix("slim/").split("_")[0],
                architecture=row["model"],
                operators=networks[row["model"]],
                latency_us=float(row["latency_ms"]) * 1000,
            )
            for row in read_rows(folder / "published_measurements.csv")
            if row["device"] == "Jetson TX2"
            and row["runtime"] == "TensorRT 3.0.4 (JetPack 3.2)"
            and row["precision"] == precision
        ),
        key=lambda network: network.name,
    )


_CLASSES = {"cifar10": 10, "cifar100": 100, "ImageNet16-120": 120}


def nas_bench_tx2(folder: Path) -> list[Measured]:
    """Return HW-NAS-Bench's NAS-Bench-201 networks on the Jetson TX2 (fp32, module power); three architectures."""
    codes = {"none": _NONE, "skip_connect": _SKIP, "avg_pool_3x3": _POOL}
    codes |= {"nor_conv_1x1": _CONV1, "nor_conv_3x3": _CONV3}
    measured = []
    for row in read_rows(folder / "published_measurements.csv"):
        if row["device"] != "Jetson TX2" or not row["model"].startswith("NAS-Bench-201"):
            continue
        _, number, text = row["model"].split(" ")
        data_set = row["notes"].split(";")[0].removeprefix("dataset=")
        nodes = text.strip("|").split("|+|")
        ops = [codes[edge.split("~")[0]] for node in nodes for edge in node.split("|")]
        side = int(row["input"].split("x")[0])
        measured.append(
            Measured(
                name=f"nas-bench-201 {number} {data_set}",
                family="nas-bench-201",
                architecture=f"nas-bench-201 {number}",
                operators=nas_bench_201(ops, side=side, classes=_CLASSES[data_set]),
                latency_us=float(row["latency_ms"]) * 1000,
                energy_uj=float(row["energy_mj"]) * 1000,
            )
        )
    return sorted(measured, key=lambda network: network.name)


def nas_bench_rpi4(folder: Path, *, every: int) -> list[Measured]:
    """Return each `every`-th NAS-Bench-201 network on the Raspberry Pi 4, without disconnected cells (below 1 ms)."""
    with np.load(folder / "nasbench201_raspi4_pixel3.npz") as table:
        ops, latency_ms = table["arch_ops"], table["raspi4_ms"]
    return [
        Measured(
            name=f"nas-bench-201 #{index}",
            family="nas-bench-201",
            architecture=f"nas-bench-201 #{index}",
            operators=nas_bench_201([int(op) for op in ops[index]]),
            latency_us=float(latency_ms[index]) * 1000,
        )
        for index in range(0, len(ops), every)
        if latency_ms[index] > 1
    ]


# Classifiers of convolutions only; detectors spend time in layers that no cost model here describes.
_NCNN_FAMILIES = {
    "alexnet": "alexnet-vgg",
    "vgg16": "alexnet-vgg",
    "resnet18": "resnet",
    "resnet50": "resnet",
    "shufflenet": "shufflenet",
    "shufflenet_v2": "shufflenet",
    "mobilenet": "mobilenet-v1",
    "squeezenet": "squeezenet",
    "googlenet": "googlenet",
    "regnety_400m": "regnet",
    "mobilenet_v2": "inverted-residual",
    "mobilenet_v3": "inverted-residual",
    "mnasnet": "inverted-residual",
    "proxylessnasnet": "inverted-residual",
    "efficientnet_b0": "inverted-residual",
    "efficientnetv2_b0": "inverted-residual",
}


def ncnn(folder: Path, *, board: str, threads: int, unit: str, precision: str) -> list[Measured]:
    """Return ncnn's own benchmark on a board: the fastest of its loops, which is the least disturbed one."""
    networks = ncnn_operators(folder)
    measured = []
    for row in read_rows(folder / "ncnn_measurements.csv"):
        name = row["model"].removesuffix("_int8")
        where = (row["board"], row["threads"], row["executes_on"], row["run_backend"])
        expected = (board, str(threads), unit, "vulkan" if unit == "gpu" else "cpu")
        if where == expected and row["precision"].startswith(precision) and name in _NCNN_FAMILIES:
            measured.append(
                Measured(
                    name=name,
                    family=_NCNN_FAMILIES[name],
                    architecture=name,
                    operators=networks[name],
                    latency_us=float(row["min_ms"]) * 1000,
                )
            )
    return sorted(measured, key=lambda network: network.name)
