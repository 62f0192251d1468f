"""Run an artifact in its runtime and compare it with the network it was exported from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from edgekd.data import Images, Normalization, batches, normalize
from edgekd.errors import ArtifactError
from edgekd.records import Parity

# The largest difference of top-1 accuracy between student and artifact, as a share: 0.1 points.
TOP1_TOLERANCE = 0.001
_BATCH = 256


def run_onnx(path: Path, images: Images, normalization: Normalization) -> torch.Tensor:
    """Return the logits `[samples, classes]` that onnxruntime computes from the file at `path`.

    Raises:
        ArtifactError: The file is missing or damaged, or does not take these images.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        outputs = [
            session.run(None, {name: normalize(x, normalization).numpy()})[0] for x, _, _ in batches(images, _BATCH)
        ]
    # onnxruntime's exceptions have no common base class but Exception.
    except Exception as error:
        raise ArtifactError(
            str(path),
            expected=f"an ONNX file that takes inputs of shape {list(images.size)}",
            found=f"{type(error).__name__}: {str(error).splitlines()[0]}",
            hint="Check the path and the data's image size, or export the artifact again.",
        ) from error
    return torch.from_numpy(np.concatenate(outputs))


def compare(student_logits: torch.Tensor, artifact_logits: torch.Tensor, images: Images) -> Parity:
    """Return how the artifact's logits `[samples, classes]` agree with the student's on the same images.

    It passes when the top-1 accuracies differ by at most 0.1 points; if it does not, `detail` names the batch with
    the most different predictions.
    """
    ours, theirs = student_logits.argmax(1), artifact_logits.argmax(1)
    difference = float((theirs == images.y).double().mean() - (ours == images.y).double().mean())
    is_finite = bool(torch.isfinite(artifact_logits).all())
    passed = is_finite and abs(difference) <= TOP1_TOLERANCE + 1e-12
    return Parity(
        samples=len(images),
        equal_predictions=float((ours == theirs).double().mean()),
        top1_difference=difference,
        max_logit_difference=float((student_logits - artifact_logits).abs().max()),
        passed=passed,
        detail=None if passed else _worst_batch(ours, theirs, images, is_finite=is_finite),
    )


def _worst_batch(ours: torch.Tensor, theirs: torch.Tensor, images: Images, *, is_finite: bool) -> str:
    different = torch.split((ours != theirs).double(), _BATCH)
    worst = max(range(len(different)), key=lambda i: float(different[i].sum()))
    first = worst * _BATCH + int(different[worst].argmax())
    text = (
        f"batch {worst + 1} of {len(different)}: {int(different[worst].sum())} of {len(different[worst])} predictions "
        f"differ, the first at '{images.ids[first]}'"
    )
    return text if is_finite else f"{text}; the artifact's logits are not all finite"
