import importlib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.fixture
def tool(monkeypatch):
    if not (CHECKOUT / "tools" / "int8_ratios.py").is_file():
        pytest.skip("the tools are not installed with the package")
    monkeypatch.syspath_prepend(str(CHECKOUT / "tools"))
    return importlib.import_module("int8_ratios")


def ncnn(model, min_ms, **other):
    row = {"board": "Raspberry Pi 4B", "run_backend": "cpu", "executes_on": "cpu", "threads": "4", "powersave": "0"}
    return row | {"run_id": "1", "model": model, "min_ms": min_ms} | other


def test_a_ratio_is_int8_over_float_of_the_same_run(tool):
    rows = [
        ncnn("resnet18", "100.0"),
        ncnn("resnet18_int8", "80.0"),
        ncnn("resnet18_int8", "10.0", run_id="2"),
        ncnn("vgg16_int8", "10.0"),
        ncnn("resnet50", "1.0", run_backend="vulkan"),
    ]
    assert tool.ratios(tool.ncnn_latencies(rows)) == {
        ("Raspberry Pi 4B", "ncnn", "4 threads, all cores, run 1"): {"resnet18": 0.8}
    }


def test_the_median_of_several_submissions_counts(tool):
    row = {"device": "Raspberry Pi 4B", "unit": "cpu", "trust": "high", "runtime": "TFLite"}
    rows = [row | {"model": "net-non-quantized", "precision": "fp32", "p50_ms": "10.0"}]
    rows += [row | {"model": "net-quantized", "precision": "int8", "p50_ms": value} for value in ("4.0", "5.0", "9.0")]
    rows += [row | {"model": "net-quantized", "precision": "int8", "p50_ms": "99.0", "trust": "low"}]
    assert tool.ratios(tool.mlperf_latencies(rows)) == {
        ("Raspberry Pi 4B", "TFLite", "threads not stated"): {"net": 0.5}
    }
