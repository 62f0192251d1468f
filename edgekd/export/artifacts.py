"""Write the files of a network that a target wants, each with a card that says what it is."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from torch import fx

from edgekd import __version__
from edgekd.data import Normalization
from edgekd.export.onnx.export import export_onnx
from edgekd.export.tvm.compile import build_library
from edgekd.models.exported import export_program
from edgekd.models.quiet import quiet_torch
from edgekd.records import Artifact, Plan, Precision, Target, TensorSpec
from edgekd.store import file_digest, write_json, written_whole

FLOAT: Precision = "fp32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What every artifact of one run says about itself."""

    target: Target
    plan: Plan
    inputs: tuple[TensorSpec, ...]
    normalization: Normalization | None
    labels: tuple[str, ...]
    teacher_digest: str
    task: str = "classification"
    output: str = "logits"

    def metadata(self, precision: Precision) -> Mapping[str, str]:
        """Return the entries of an ONNX file's metadata."""
        return {
            "edgekd.version": __version__,
            "edgekd.plan": self.plan.id,
            "edgekd.teacher_sha256": self.teacher_digest,
            "edgekd.precision": precision,
            "edgekd.task": self.task,
            "labels": json.dumps(self.labels),
            **self._input_metadata(),
        }

    def _input_metadata(self) -> dict[str, str]:
        if self.normalization is None:
            return {"inputs": json.dumps([dataclasses.asdict(spec) for spec in self.inputs])}
        about = {
            "shape": self.inputs[0].shape,
            "layout": "NCHW",
            "scale": "x / 255, then (x - mean) / std",
            "mean": self.normalization.mean,
            "std": self.normalization.std,
        }
        return {"input": json.dumps(about)}


def export_onnx_artifact(
    network: fx.GraphModule, run: Path, name: str, precision: Precision, processor: str, about: Description
) -> Artifact:
    """Write `artifacts/NAME.PRECISION.onnx` and its card; return the card.

    Raises:
        ExportError: It cannot be expressed in ONNX, or the disk is full.
    """
    path = run / "artifacts" / f"{name}.{precision}.onnx"
    export_onnx(
        network,
        path,
        precision=precision,
        inputs=about.inputs,
        outputs=(about.output,),
        metadata=about.metadata(precision),
    )
    notes: tuple[str, ...] = ()
    if processor == "gpu":
        engine = path.with_suffix(".engine").name
        notes = (f"Build the engine on the device: trtexec --onnx={path.name} --fp16 --saveEngine={engine}",)
    toolchain = f"torch {torch.__version__}, onnx {onnx.__version__}"
    return _with_card(run, path, "onnx", precision, processor, about, toolchain, notes)


def export_tvm_artifact(onnx_path: Path, run: Path, name: str, about: Description) -> Artifact:
    """Write `artifacts/NAME.cpu.so`, compiled from an fp32 ONNX file, and its card; return the card.

    Raises:
        ExportError: TVM cannot compile it.
    """
    processor = about.target.processor("cpu")
    library = run / "artifacts" / f"{name}.cpu.so"
    toolchain = build_library(onnx_path, library, processor=processor, inputs=about.inputs)
    notes = (
        "Batch size 1. Untuned TVM code is slower than onnxruntime: deploy the ONNX file where onnxruntime runs.",
        "Compiled for the target, not run here; the same network compiled for this machine was compared.",
    )
    return _with_card(run, library, "tvm", FLOAT, "cpu", about, toolchain, notes)


def save_student(network: fx.GraphModule, folder: Path, plan: Plan, examples: tuple[torch.Tensor, ...]) -> None:
    """Write the compressed network as weights and plan, and as a `.pt2` that opens without the user's code.

    Raises:
        ExportError: The disk is full.
    """
    from safetensors.torch import save

    # Both formats are made in memory: on a full disk their own writers raise errors that are no OSError, and
    # torch's ends the process.
    weights = save({name: value.contiguous() for name, value in network.state_dict().items()})
    program = io.BytesIO()
    with quiet_torch():
        torch.export.save(export_program(network, examples), program)
    with written_whole(folder / "weights.safetensors") as temporary:
        temporary.write_bytes(weights)
    write_json(folder / "plan.json", plan.document())
    with written_whole(folder / "student.pt2") as temporary:
        temporary.write_bytes(program.getvalue())


def _with_card(
    run: Path,
    path: Path,
    backend: str,
    precision: Precision,
    processor: str,
    about: Description,
    toolchain: str,
    notes: tuple[str, ...],
) -> Artifact:
    card = Artifact(
        path=path.relative_to(run).as_posix(),
        backend="tvm" if backend == "tvm" else "onnx",
        precision=precision,
        processor=processor,
        target=about.target.name,
        plan_id=about.plan.id,
        sha256=file_digest(path),
        size_bytes=path.stat().st_size,
        input_shape=about.inputs[0].shape,
        toolchain=toolchain,
        labels=about.labels,
        notes=notes,
        task=about.task,
        inputs=about.inputs,
    )
    write_json(path.with_suffix(".json"), card)
    return card
