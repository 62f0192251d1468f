"""Read published measurements of whole networks from a device-data folder.

The folder's README describes its files and their licences. Here every row becomes one `Measured`.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from edgekd.hardware.cost import Operators
from profile_fitting.networks import Measured, ncnn_operators, published_operators, read_rows

_MLPERF_FAMILIES = ("mobilenet-v1", "mobilenet-v2", "mobilenet-v3", "efficientnet-lite", "resnet50")


@cache
def _published(folder: Path) -> tuple[list[dict[str, str]], dict[str, Operators]]:
    return read_rows(folder / "published_measurements.csv"), published_operators(folder)


@cache
def _ncnn(folder: Path) -> tuple[list[dict[str, str]], dict[str, Operators]]:
    return read_rows(folder / "ncnn_measurements.csv"), ncnn_operators(folder)


def mlperf(folder: Path, *, device: str, runtime: str, precision: str, edition: str) -> list[Measured]:
    """Return Krai's MLPerf Inference runs on the CPU of a board: median latency, wall energy where logged."""
    rows, operators = _published(folder)
    measured = []
    for row in rows:
        stated = (row["device"], row["unit"], row["runtime"], row["precision"], row["trust"])
        if stated != (device, "cpu", runtime, precision, "high"):
            continue
        if row["source"] != f"mlcommons/inference_results_{edition}":
            continue
        name = row["model"]
        for suffix in ("-non-quantized", "-quantized", "_float", "_uint8"):
            name = name.removesuffix(suffix)
        family = next((family for family in _MLPERF_FAMILIES if name.startswith(family)), None)
        if family is None:
            continue
        measured.append(
            Measured(
                name=name,
                family=family,
                architecture=name,
                operators=operators[name],
                latency_us=float(row["p50_ms"]) * 1000,
                energy_uj=float(row["energy_mj"]) * 1000 if row["energy_mj"] else None,
            )
        )
    return sorted(measured, key=lambda network: network.name)


def slim_tx2(folder: Path, *, precision: str) -> list[Measured]:
    """Return NVIDIA's TensorRT 3 table of TF-slim networks on the Jetson TX2."""
    rows, operators = _published(folder)
    return sorted(
        (
            Measured(
                name=row["model"],
                family=row["model"].removeprefix("slim/").split("_")[0],
                architecture=row["model"],
                operators=operators[row["model"]],
                latency_us=float(row["latency_ms"]) * 1000,
            )
            for row in rows
            if row["device"] == "Jetson TX2"
            and row["runtime"] == "TensorRT 3.0.4 (JetPack 3.2)"
            and row["precision"] == precision
        ),
        key=lambda network: network.name,
    )


def torch2trt(folder: Path, *, device: str) -> list[Measured]:
    """Return torch2trt's own fp16 table of torchvision networks; those without a layer list are left out."""
    rows, operators = _published(folder)
    measured = []
    for row in rows:
        name = row["model"]
        if (row["device"], row["runtime"], row["trust"]) != (device, "TensorRT via torch2trt", "high"):
            continue
        family = re.match("[a-z]+", name.removeprefix("torchvision/"))
        if name in operators and family is not None:
            measured.append(
                Measured(
                    name=name,
                    family=family.group(),
                    # With and without batch norm, which is folded, it is the same network.
                    architecture=name.removesuffix("_bn"),
                    operators=operators[name],
                    latency_us=float(row["latency_ms"]) * 1000,
                )
            )
    return sorted(measured, key=lambda network: network.name)


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


def ncnn(
    folder: Path, *, board: str, unit: str, precision: str, threads: int | None = None, powersave: int = 0
) -> list[Measured]:
    """Return ncnn's own benchmark on a board: the fastest of its loops, which is the least disturbed one.

    Args:
        folder: The device-data folder.
        board: As ncnn names it.
        unit: `cpu` or `gpu`; networks of a GPU run that ncnn left to the CPU are not returned.
        precision: In which it was computed.
        threads: On a CPU; on a GPU they matter little, and of several runs the fastest counts.
        powersave: ncnn's choice of cores, 0 all, 1 little, 2 big.
    """
    rows, operators = _ncnn(folder)
    fastest: dict[str, float] = {}
    for row in rows:
        name = row["model"].removesuffix("_int8")
        where = (row["board"], row["executes_on"], row["run_backend"])
        if where != (board, unit, "vulkan" if unit == "gpu" else "cpu") or name not in _NCNN_FAMILIES:
            continue
        if not row["precision"].startswith(precision):
            continue
        if unit == "cpu" and (row["threads"], row["powersave"]) != (str(threads), str(powersave)):
            continue
        fastest[name] = min(float(row["min_ms"]) * 1000, fastest.get(name, float("inf")))
    return [
        Measured(
            name=name,
            family=_NCNN_FAMILIES[name],
            architecture=name,
            operators=operators[name],
            latency_us=fastest[name],
        )
        for name in sorted(fastest)
    ]
