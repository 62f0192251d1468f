from __future__ import annotations

import pytest

from edgekd.records import (
    Budget,
    Finding,
    Metric,
    Parity,
    Prediction,
    Report,
    Row,
    StageResult,
)

FIT = "fit to 16 whole networks (docs/profiles.md)"


def _on_test(value: float) -> Metric:
    return Metric(value=value, samples=10_000, split="test")


def _on_validation(value: float) -> Metric:
    return Metric(value=value, samples=5_000, split="validation")


@pytest.fixture
def report() -> Report:
    """A failed run with an original, an artifact whose cost is predicted and one of which little is known."""
    original = Row(
        name="original",
        path="model.pt2",
        precision="fp32",
        processor=None,
        size_bytes=1_000_000,
        macs=40_000_000,
        parameters=270_000,
        accuracy=_on_test(0.92),
        trained_accuracy=_on_test(0.92),
        latency_us=None,
        energy_uj=None,
        parity=None,
    )
    int8 = Row(
        name="compressed int8",
        path="artifacts/model.int8.onnx",
        precision="int8",
        processor="cpu",
        size_bytes=250_001,
        macs=10_000_000,
        parameters=90_000,
        accuracy=_on_test(0.91326),
        trained_accuracy=_on_test(0.91234),
        latency_us=Prediction(value=2400, low=2000, high=2900, origin="fitted", source=FIT),
        energy_uj=Prediction(value=8100, low=7000, high=9500, origin="published", source="a paper", extrapolated=True),
        parity=Parity(
            samples=2_000,
            equal_predictions=0.9985,
            top1_difference=-0.0005,
            max_logit_difference=0.25,
            passed=True,
        ),
        memory_bytes=49_152,
    )
    fp16 = Row(
        name="compressed fp16",
        path="artifacts/model.fp16.onnx",
        precision="fp16",
        processor="gpu",
        size_bytes=200_000,
        macs=10_000_000,
        parameters=90_000,
        accuracy=None,
        trained_accuracy=_on_test(0.91234),
        latency_us=None,
        energy_uj=None,
        parity=None,
    )
    return Report(
        title="resnet20 for jetson-tx2",
        verdict="fail",
        target="jetson-tx2",
        plan_id="0123456789ab",
        rows=(original, int8, fp16),
        stages=(
            StageResult(
                name="load",
                summary="model.pt2",
                seconds=1.5,
                accuracy=_on_validation(0.92),
                macs=40_000_000,
                parameters=270_000,
            ),
            StageResult(name="groups", summary="9 groups", seconds=0.5),
            StageResult(
                name="prune",
                summary="56 of 112 units",
                seconds=125,
                accuracy=_on_validation(0.71),
                macs=10_000_000,
                parameters=90_000,
            ),
        ),
        budgets=(Budget(quantity="size_bytes", limit=250_000), Budget(quantity="latency_us", limit=3000.0)),
        findings=(Finding(level="warning", code="no-int8", subject="gpu", message="fp16 ships", hint="Use it."),),
        widths=(("layer1", 16, 8), ("layer2", 32, 32)),
        provenance=(
            ("command", "edgekd compress model.pt2 --target jetson-tx2"),
            ("edgekd", "0.1.0"),
        ),
    )
