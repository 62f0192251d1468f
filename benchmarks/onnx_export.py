"""Time to an ONNX file: EdgeKD's writer beside `torch.onnx.export`, in one run.

    python benchmarks/onnx_export.py [--repeats 3]

Prints medians and ratios and writes `benchmarks/results/onnx_export.json`.
"""

from __future__ import annotations

import argparse
from typing import Any

import timing
import torch
from architectures import MobileNetV2, ResNet56
from torch import fx

from edgekd.export.onnx.direct import emit
from edgekd.export.onnx.traced import trace
from edgekd.models.exported import export_program
from edgekd.models.rewrite import rebuild
from edgekd.quantize.fold import fold_batch_norm
from edgekd.quantize.prepare import calibrate, prepare
from edgekd.records import TensorSpec

NETWORKS = {"CIFAR ResNet-56": (ResNet56, (3, 32, 32)), "MobileNetV2": (MobileNetV2, (3, 96, 96))}


def measure(network: fx.GraphModule, spec: TensorSpec, *, label: str, repeats: int) -> dict[str, Any]:
    """Time both ways for one network."""
    options: dict[str, Any] = {"in_half": False, "inputs": (spec,), "outputs": ("logits",)}
    ways = {"edgekd": lambda: emit(network, **options), "torch.onnx.export": lambda: trace(network, **options)}
    measured = timing.compare(ways, label=label, repeats=repeats)
    return {"milliseconds": measured, "ratio": timing.ratio(measured, "torch.onnx.export", "edgekd")}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    torch.manual_seed(0)
    results = {}
    for name, (factory, shape) in NETWORKS.items():
        spec = TensorSpec(name="input", shape=shape)
        network = rebuild(export_program(factory().eval(), (torch.zeros(2, *shape),)))
        prepared = prepare(network)
        calibrate(prepared, [torch.randn(4, *shape)])
        for precision, source in (("fp32", fold_batch_norm(network)), ("int8", prepared)):
            label = f"{name}, {precision}"
            results[label] = measure(source, spec, label=label, repeats=repeats)
    timing.keep("onnx_export", repeats=repeats, networks=results)


if __name__ == "__main__":
    main()
