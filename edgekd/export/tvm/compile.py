"""Build a shared library for the target's CPU with TVM."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.errors import ArtifactError, ExportError, MissingDependencyError
from edgekd.records import Processor, TensorSpec
from edgekd.store import written_whole

# e_machine of the ELF header, by the first part of an LLVM target triple.
_ELF_MACHINES = {"aarch64": 0xB7, "x86_64": 0x3E, "arm": 0x28}


def require_package(otherwise: str) -> None:
    """Make sure TVM is installed; `otherwise` says what works without it.

    Raises:
        MissingDependencyError: It is not; the hint installs it.
    """
    if importlib.util.find_spec("tvm") is None:
        raise MissingDependencyError(
            "TVM",
            expected="the Python package 'tvm'",
            found="none",
            hint=f"Install it: pip install 'edgekd[tvm]', or {otherwise}.",
        )


def require_tvm(processor: Processor) -> None:
    """Make sure a library for `processor` can be built on this machine.

    Raises:
        MissingDependencyError: TVM or the cross compiler is missing; the hint installs it.
        ExportError: The target has no TVM description.
    """
    require_package("leave it out: --export onnx")
    if not processor.tvm_target:
        raise ExportError(
            f"TVM export for {processor.title}",
            expected="a tvm_target in the target file",
            found="none",
            hint="Add one to the target file, or leave TVM out: --export onnx.",
        )
    compiler = processor.cross_compiler
    if compiler and shutil.which(compiler) is None:
        package = compiler.partition("-g++")[0]
        raise MissingDependencyError(
            f"TVM export for {processor.title}",
            expected=f"the cross compiler '{compiler}'",
            found="none on the PATH",
            hint=f"Install it: apt-get install g++-{package}, or leave TVM out: --export onnx.",
        )


def build_library(onnx_path: Path, library: Path, *, processor: Processor, inputs: tuple[TensorSpec, ...]) -> str:
    """Compile an fp32 ONNX file for `processor` and write it as a shared library for batch size 1.

    Returns:
        The toolchain, for the artifact's card.

    Raises:
        ExportError: TVM cannot import or compile the network, or the result is not for the target.
    """
    return build_library_of_shapes(onnx_path, library, processor, [(1, *spec.shape) for spec in inputs])


def build_library_of_shapes(
    onnx_path: Path, library: Path, processor: Processor, shapes: Sequence[tuple[int, ...]]
) -> str:
    """Do what `build_library` does for inputs whose whole shapes, batch included, are given in the file's order."""
    import tvm
    from tvm import support

    target = tvm.target.Target(dict(_plain(processor.tvm_target)))
    executable = _compile(onnx_path, target, shapes)
    compiler = processor.cross_compiler or "g++"
    with written_whole(library) as temporary:
        linked = temporary.with_suffix(".so")
        try:
            executable.export_library(str(linked), fcompile=support.cc.cross_compiler(compiler), options=["-Wl,-s"])
            linked.replace(temporary)
        except RuntimeError as error:
            raise _failed(library, "a library that links", error) from error
        finally:
            linked.unlink(missing_ok=True)
        triple = str(dict(processor.tvm_target).get("mtriple", ""))
        _check_elf(library, temporary, triple)
    return f"apache-tvm {tvm.__version__}, {compiler}"


def run_on_host(onnx_path: Path, *inputs: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Compile an fp32 ONNX file for this machine and return its outputs, one sample at a time.

    The inputs are `[samples, ...]`, in the file's order.

    The library for the target cannot run here; the same compiler's code for this machine can, and shows that TVM
    computes what the ONNX file says.
    """
    import tvm
    from tvm import relax

    executable = _compile(onnx_path, tvm.target.Target("llvm"), [(1, *array.shape[1:]) for array in inputs])
    machine = relax.VirtualMachine(executable, tvm.cpu())
    outputs = []
    for index in range(len(inputs[0])):
        result: Any = machine["main"](*(tvm.runtime.tensor(array[index : index + 1]) for array in inputs))
        outputs.append((result if hasattr(result, "numpy") else result[0]).numpy())
    return np.concatenate(outputs)


@contextlib.contextmanager
def _quiet_native_code() -> Iterator[None]:
    """Keep what TVM's C++ code writes to the process's standard error from the user's progress lines."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _compile(onnx_path: Path, target: Any, shapes: Sequence[tuple[int, ...]]) -> Any:
    import onnx
    import tvm
    from tvm.relax.frontend.onnx import from_onnx

    with warnings.catch_warnings(), _quiet_native_code():
        warnings.simplefilter("ignore")
        try:
            model = onnx.load(onnx_path)
            sizes = {spec.name: list(shape) for spec, shape in zip(_inputs(model), shapes, strict=True)}
            module = from_onnx(model, shape_dict=sizes)
            return tvm.compile(module, target=target)
        # TVM's importer and passes raise errors of many kinds, some of them its own C++ ones.
        except Exception as error:
            raise _failed(onnx_path, "a network that TVM can compile", error) from error


def read_inputs(onnx_path: Path) -> tuple[tuple[TensorSpec, ...], bool]:
    """Return the inputs of an ONNX file with their whole shapes, batch included, and whether it is quantized.

    Sizes that the file leaves open are 1.

    Raises:
        ArtifactError: It is no ONNX file.
    """
    import onnx

    try:
        model = onnx.load(onnx_path, load_external_data=False)
        return _inputs(model), any(node.op_type == "DequantizeLinear" for node in model.graph.node)
    # protobuf's error, which has moved between its versions, and the system's.
    except Exception as error:
        raise ArtifactError(
            str(onnx_path), expected="an ONNX file", found=f"{type(error).__name__}: {error}", hint="Export it again."
        ) from error


def _inputs(model: Any) -> tuple[TensorSpec, ...]:
    from onnx.helper import tensor_dtype_to_np_dtype

    # Until IR version 4, stored tensors are inputs too.
    stored = {tensor.name for tensor in model.graph.initializer}
    return tuple(
        TensorSpec(
            name=entry.name,
            shape=tuple(max(size.dim_value, 1) for size in entry.type.tensor_type.shape.dim),
            dtype=tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type).name,
        )
        for entry in model.graph.input
        if entry.name not in stored
    )


def _failed(path: Path, expected: str, error: Exception) -> ExportError:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return ExportError(
        str(path),
        expected=expected,
        found=f"{type(error).__name__}: {lines[-1] if lines else 'no message'}",
        hint="Leave TVM out: --export onnx.",
    )


def _plain(pairs: tuple[tuple[str, str | int | tuple[str, ...]], ...]) -> list[tuple[str, Any]]:
    return [(key, list(value) if isinstance(value, tuple) else value) for key, value in pairs]


def _check_elf(library: Path, path: Path, triple: str) -> None:
    header = path.read_bytes()[:20]
    machine = int.from_bytes(header[18:20], "little")
    expected = _ELF_MACHINES.get(triple.partition("-")[0])
    if header[:4] != b"\x7fELF" or (expected is not None and machine != expected):
        raise ExportError(
            str(library),
            expected=f"an ELF library for {triple}",
            found=f"machine {machine:#x}",
            hint="Check cross_compiler and tvm_target in the target file.",
        )
