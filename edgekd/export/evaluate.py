"""The accuracy of an artifact by itself: everything it needs to know is in its metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgekd.data import Normalization, load_dataset
from edgekd.errors import ArtifactError, DataError
from edgekd.export.parity import run_onnx
from edgekd.models.evaluate import metric_of
from edgekd.records import Metric


def evaluate_artifact(artifact: Path, data: Path, part: str) -> Metric:
    """Return the top-1 accuracy of the ONNX file on one part (`train`, `validation`, `test`) of a data set.

    Raises:
        ArtifactError: The file is missing or damaged, or was not written by EdgeKD.
        DataError: The data cannot be read, has other classes, or has no such part.
    """
    about, labels = read_metadata(artifact)
    shape = tuple(about["shape"])
    dataset = load_dataset(data, input_size=(shape[0], shape[1], shape[2]))
    if dataset.classes != labels:
        raise DataError(
            str(data),
            expected=f"the classes of {artifact}: {', '.join(labels[:12])}",
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
    normalization = Normalization(mean=tuple(about["mean"]), std=tuple(about["std"]))
    return metric_of(run_onnx(artifact, dataset.parts[part], normalization), dataset.parts[part], split=part)


def read_metadata(artifact: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return what an artifact's metadata say about its input, and its labels.

    Raises:
        ArtifactError: The file is missing or damaged, or was not written by EdgeKD.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(artifact), load_external_data=False)
        entries = {entry.key: entry.value for entry in model.metadata_props}
        return json.loads(entries["input"]), tuple(json.loads(entries["labels"]))
    except (OSError, DecodeError, KeyError, ValueError) as error:
        raise ArtifactError(
            str(artifact),
            expected="an ONNX file written by EdgeKD",
            found=f"{type(error).__name__}: {error}",
            hint="Give an artifact of a run, for instance RUN/artifacts/model.int8.onnx.",
        ) from error
