"""NAS-Bench-201: its networks, and what others measured of them on boards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from edgekd.hardware.cost import Operators
from profile_fitting.networks import Layer, Measured, read_rows, to_operators

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
