"""The shared library that is run on a board: one of a run as it ships, or one compiled now from an ONNX file."""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgekd.checks import read_card
from edgekd.errors import ArtifactError, ExportError, InputError
from edgekd.export.tvm.compile import build_library_of_shapes, read_inputs, require_tvm
from edgekd.hardware.target import load_target
from edgekd.records import Artifact, Processor, TensorSpec
from edgekd.store import file_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """A library, its inputs with their whole shapes, what built it, and what its times must be read with."""

    content: bytes
    inputs: tuple[TensorSpec, ...]
    toolchain: str
    warnings: tuple[str, ...] = ()


def read_library(path: Path, target: str | None) -> Library:
    """Return the library of an artifact for its target.

    Args:
        path: A `.so` file of a run, with its card, or an ONNX file.
        target: What to compile an ONNX file for: a name or a target file; `None` for what its card says.

    Raises:
        ArtifactError: The file or its card is missing, or damaged, or neither.
        InputError: Neither `target` nor a card says what to compile for.
        MissingDependencyError: TVM or a compiler is missing.
        ExportError: TVM cannot compile the network.
    """
    if not path.is_file() or path.suffix not in (".so", ".onnx"):
        raise ArtifactError(
            str(path),
            expected="an .onnx file, or a .so file of a run",
            found=f"'{path.suffix}'" if path.is_file() else "no such file",
            hint="Measure an artifact of a run.",
        )
    card = _card(path)
    if path.suffix == ".onnx":
        return _compiled(path, _processor(path, target or (card.target if card else None)))
    if card is None:
        raise ArtifactError(
            str(path),
            expected=f"its card {path.with_suffix('.json').name} beside it, which says what its inputs are",
            found="none for this very file",
            hint="Give the file in the artifacts folder of its run.",
        )
    specs = card.inputs or (TensorSpec(name="input", shape=card.input_shape),)
    inputs = tuple(dataclasses.replace(spec, shape=(1, *spec.shape)) for spec in specs)
    return Library(content=path.read_bytes(), inputs=inputs, toolchain=card.toolchain)


def _card(path: Path) -> Artifact | None:
    """Return the card of this very file, if it has one."""
    described = path.with_suffix(".json")
    card = read_card(described) if described.is_file() else None
    return card if card is not None and card.sha256 == file_digest(path) else None


def _processor(path: Path, target: str | None) -> Processor:
    if target is None:
        raise InputError(
            "--target",
            expected=f"the device to compile {path} for, as no card beside it says so",
            found="none",
            hint="Give the boards' target, as --target rpi4; 'edgekd targets list' shows them.",
        )
    described = load_target(target)
    kinds = {processor.kind for processor in described.processors}
    if "cpu" not in kinds:
        raise InputError(
            f"--target {target}", expected="a device with a CPU", found=", ".join(kinds), hint="Choose another target."
        )
    return described.processor("cpu")


def _compiled(path: Path, processor: Processor) -> Library:
    inputs, is_quantized = read_inputs(path)
    with tempfile.TemporaryDirectory(prefix="edgekd-") as folder:
        library = Path(folder) / "model.so"
        try:
            require_tvm(processor)
            toolchain = build_library_of_shapes(path, library, processor, [spec.shape for spec in inputs])
        except ExportError as error:
            raise ExportError(
                error.where,
                expected=error.expected,
                found=error.found,
                hint="TVM cannot measure it: measure it in onnxruntime, with --on ssh://USER@HOST.",
            ) from error
        warnings = ("TVM computes a quantized network in float, so this is no time of int8",) if is_quantized else ()
        return Library(content=library.read_bytes(), inputs=inputs, toolchain=toolchain, warnings=warnings)
