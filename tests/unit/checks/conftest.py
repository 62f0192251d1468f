"""A run on disk as `edgekd compress` leaves it, with files small enough to write in a test."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekd.records import Artifact, Metric, Prediction, Report, Row
from edgekd.report import report_to_json

CONTENT = bytes(1000)


def prediction(value: float, source: str = "a fit") -> Prediction:
    return Prediction(value=value, low=value / 2, high=value * 2, origin="fitted", source=source)


ROW = Row(
    name="compressed int8",
    path="artifacts/model.int8.onnx",
    precision="int8",
    processor="cpu",
    size_bytes=len(CONTENT),
    macs=1_000_000,
    parameters=50_000,
    accuracy=Metric(value=0.9, samples=1000, split="test"),
    trained_accuracy=None,
    latency_us=prediction(2000.0),
    energy_uj=prediction(7000.0),
    parity=None,
    memory_bytes=3000,
)


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Write a run of one artifact whose row differs from `ROW` in the fields given, and return its folder."""

    def make(name: str = "run", *, target: str = "rpi4", verdict: str = "pass", **fields: object) -> Path:
        run = tmp_path / name
        (run / "artifacts").mkdir(parents=True)
        (run / "report").mkdir()
        size_bytes = int(str(fields.get("size_bytes", ROW.size_bytes)))
        content = bytes(size_bytes)
        row = dataclasses.replace(ROW, **fields)  # type: ignore[arg-type]  # the caller names fields of a row
        (run / row.path).write_bytes(content)
        card = Artifact(
            path=row.path,
            backend="onnx",
            precision=row.precision,
            processor="cpu",
            target=target,
            plan_id="0123456789ab",
            sha256=hashlib.sha256(content).hexdigest(),
            size_bytes=size_bytes,
            input_shape=(1, 3, 32, 32),
            toolchain="onnx 1.18",
        )
        (run / row.path).with_suffix(".json").write_text(json.dumps(dataclasses.asdict(card)))
        report = Report(
            title="a run",
            verdict=verdict,  # type: ignore[arg-type]  # the caller gives one of the two
            target=target,
            plan_id="0123456789ab",
            rows=(row,),
            stages=(),
            budgets=(),
            findings=(),
            widths=(),
            provenance=(),
        )
        (run / "report" / "report.json").write_text(report_to_json(report))
        return run

    return make
