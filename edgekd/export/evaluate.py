"""The metric of an artifact by itself: everything it needs to know is in its metadata."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.data import Normalization, Samples, batches, load_dataset
from edgekd.errors import ArtifactError, DataError
from edgekd.export.parity import answers_of_onnx, run_onnx
from edgekd.records import Metric, TensorSpec
from edgekd.tasks import Targets, Task, load_task, make_metric

_BATCH = 256
_REFERENCE = "original.fp32.onnx"


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What an artifact's metadata say. Without a normalization, `inputs` are what it takes as it is."""

    inputs: tuple[TensorSpec, ...]
    normalization: Normalization | None
    labels: tuple[str, ...]
    task: str
    output: TensorSpec


def evaluate_artifact(artifact: Path, data: Path, part: str, task_name: str | None = None) -> Metric:
    """Return the metric of the ONNX file on one part (`train`, `validation`, `test`) of a data set.

    Where a task's targets are the teacher's outputs and the data have none, they are those of `original.fp32.onnx`
    beside the file.

    Args:
        artifact: The file.
        data: A data set that its task can read.
        part: Which part of it.
        task_name: A task other than the one the file names.

    Raises:
        ArtifactError: The file is missing or damaged, or was not written by EdgeKD.
        DataError: The data cannot be read, have other classes, do not fit the task, or have no such part.
        UnknownNameError: There is no such task.
    """
    about = read_metadata(artifact)
    task = load_task(task_name or about.task)
    shape = about.inputs[0].shape
    size = None if about.normalization is None else (shape[0], shape[1], shape[2])
    dataset = load_dataset(data, input_size=size, task=task, inputs=about.inputs)
    if task.source == "classes" and dataset.classes != about.labels:
        raise DataError(
            str(data),
            expected=f"the classes of {artifact}: {', '.join(about.labels[:12])}",
            found=", ".join(dataset.classes[:12]),
            hint="Give the data this artifact was made with.",
        )
    if part not in dataset.parts:
        raise DataError(
            str(data),
            expected=f"a part named '{part}'",
            found=", ".join(dataset.parts),
            hint="Choose one of these with --part.",
        )
    samples = _with_targets(artifact, data, dataset.parts[part], about.normalization, task)
    task.check(str(artifact), about.output, Targets(where=str(data), classes=dataset.classes, parts={part: samples.y}))
    meter = task.meter()
    found = answers_of_onnx(artifact, samples, about.normalization)
    for outputs, (_, y, _) in zip(found, batches(samples, _BATCH), strict=True):
        meter.update(outputs, y)
    return make_metric(task, meter, samples=len(samples), split=part)


def read_metadata(artifact: Path) -> About:
    """Return what an artifact's metadata say.

    Raises:
        ArtifactError: The file is missing or damaged, or was not written by EdgeKD.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(artifact), load_external_data=False)
        entries = {entry.key: entry.value for entry in model.metadata_props}
        inputs, normalization = _inputs(entries)
        result = model.graph.output[0]
        sizes = tuple(axis.dim_value for axis in result.type.tensor_type.shape.dim)[1:]
        return About(
            inputs=inputs,
            normalization=normalization,
            labels=tuple(json.loads(entries["labels"])),
            task=entries.get("edgekd.task", "classification"),
            output=TensorSpec(name=result.name, shape=sizes),
        )
    except (OSError, DecodeError, LookupError, TypeError, ValueError) as error:
        raise ArtifactError(
            str(artifact),
            expected="an ONNX file written by EdgeKD",
            found=f"{type(error).__name__}: {error}",
            hint="Give an artifact of a run, for instance RUN/artifacts/model.int8.onnx.",
        ) from error


def _inputs(entries: dict[str, str]) -> tuple[tuple[TensorSpec, ...], Normalization | None]:
    if "inputs" in entries:
        given: list[dict[str, Any]] = json.loads(entries["inputs"])
        for spec in given:
            np.dtype(spec["dtype"])  # TypeError where it is none
        return tuple(TensorSpec(name=s["name"], shape=tuple(s["shape"]), dtype=s["dtype"]) for s in given), None
    about = json.loads(entries["input"])
    image = TensorSpec(name="input", shape=tuple(about["shape"]))
    return (image,), Normalization(mean=tuple(about["mean"]), std=tuple(about["std"]))


def _with_targets(
    artifact: Path, data: Path, samples: Samples, normalization: Normalization | None, task: Task
) -> Samples:
    """Return the samples; with the outputs of the original beside the artifact, if they have no targets."""
    if task.source != "teacher" or samples.y.shape[1:] != (0,):
        return samples
    reference = artifact.with_name(_REFERENCE)
    if not reference.is_file():
        raise DataError(
            str(data),
            expected=f"targets y, or {_REFERENCE} beside the artifact, whose outputs are the targets",
            found="neither",
            hint="Evaluate the artifact in its run folder.",
        )
    return samples.with_targets(run_onnx(reference, samples, normalization))
