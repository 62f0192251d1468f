"""TorchScript archives: looked into, opened, and turned into exported programs.

TorchScript is deprecated in torch, but files of it are everywhere. Its archive holds source code in a small language
of its own, which torch's interpreter runs, and values that torch's C++ unpickler reads. Neither can call Python. What
that language can do besides arithmetic is write and map files, and use classes and operators of compiled extensions;
files with any of these are refused before torch opens them.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import fx, nn
from torch.export import ExportedProgram

from edgekd.errors import ModelError, UnsafeFileError
from edgekd.models.exported import described, export_program, first_line
from edgekd.models.quiet import quiet_torch

_HINT = "Save the network again as .pt2 (torch.export.save) from the code that built it."
_CLASS = re.compile(r"^class\s+(\w+)\s*(?:\(\s*(\w+)\s*\))?\s*:", re.MULTILINE)
_PLAIN_BASES = ("Module", "NamedTuple")
_EXTENSION = re.compile(r"__torch__\s*\.\s*torch\s*\.\s*classes\s*\.\s*[\w.]+")
_OPERATOR = re.compile(r"\bops\s*\.\s*(\w+)\s*\.\s*(\w+)")
# The operators that touch files (aten::save, aten::from_file), and the methods that run while a file is opened.
_FILE_ACCESS = re.compile(r"\b(save|from_file(?:_out)?)\b")
_HOOK = re.compile(r"\b(__setstate__|__getstate__)\b")
_PLAIN_GLOBAL = re.compile(
    r"__torch__(\.\w+)+|torch \w+Storage|torch device|collections OrderedDict"
    r"|torch\._utils (_rebuild_tensor_v2|_rebuild_parameter)"
    r"|torch\.jit\._pickle (build_(int|double|bool|tensor)list|restore_type_tag|build_tensor_from_id)"
)


def open_torchscript(path: Path) -> nn.Module:
    """Return the script module in an archive, on the CPU and in evaluation mode.

    Raises:
        ModelError: It is damaged, or uses classes or operators that torch alone does not have.
        UnsafeFileError: Its code reads or writes files, or runs while it is opened.
    """
    with path.open("rb") as stream:
        refuse_extensions(path, stream)
        stream.seek(0)
        try:
            with quiet_torch():
                load: Any = torch.jit.load  # torch does not annotate it
                module: nn.Module = load(stream, map_location="cpu")
        # torch raises RuntimeError for most damage, and what its compiler raises for the rest.
        except Exception as error:
            raise ModelError(
                str(path),
                expected="a program saved by torch.jit.save",
                found=f"{type(error).__name__}: {first_line(error)}",
                hint=_HINT,
            ) from error
    return module.eval()


def refuse_extensions(path: Path, stream: BinaryIO) -> None:
    """Make sure that an archive holds modules of plain torch operators only.

    Raises:
        ModelError: It is damaged, or uses custom classes or operators; they are named.
        UnsafeFileError: Its code reads or writes files, or runs while it is opened.
    """
    try:
        archive = torch._C.PyTorchFileReader(stream)
        records = archive.get_all_records()
    except RuntimeError as error:
        raise ModelError(
            str(path), expected="an archive that torch reads", found=first_line(error), hint=_HINT
        ) from error
    for record in records:
        if record.startswith("code/") and record.endswith(".py"):
            _refuse_source(path, archive.get_record(record).decode("utf-8", errors="replace"))
        elif record.endswith(".pkl"):
            _refuse_globals(path, record, archive.get_record(record))


def export_script(module: Any, examples: tuple[torch.Tensor, ...], *, where: str) -> ExportedProgram:
    """Return a script module as an exported program, with its names and a dynamic batch size.

    Raises:
        ModelError: The converter in torch does not know one of its operators, or its batch size is fixed.
    """
    from torch._export.converter import TS2EPConverter

    class _Converter(TS2EPConverter):
        """Exports with the batch as the only dynamic size, where torch's would take every size as dynamic."""

        def retrace_as_exported_program(self, gm: fx.GraphModule, name_to_constant: dict[str, Any]) -> ExportedProgram:  # noqa: ARG002
            _restore_parameters(gm, {name for name, _ in module.named_parameters()})
            _name_convolutions(gm)
            return export_program(gm, examples, where=where)

    try:
        with quiet_torch(), torch.no_grad():
            converter = _Converter(module, examples)
            _unroll(converter.ts_graph)
            program: ExportedProgram = converter.convert()
    except ModelError:
        raise
    # The converter raises ValueError, KeyError, RuntimeError, ... for what it does not know.
    except Exception as error:
        raise ModelError(
            where,
            expected=f"a TorchScript network that takes {described(examples)}",
            found=f"{type(error).__name__}: {first_line(error)}",
            hint=f"Check --input-size. {_HINT}",
        ) from error
    return program


def _unroll(graph: Any) -> None:
    """Write out loops over lists whose length is known, which the converter cannot follow."""
    if graph.findNode("prim::Loop") is None:
        return
    compiler: Any = torch._C  # torch annotates some of its passes only
    compiler._jit_pass_remove_mutation(graph)
    compiler._jit_pass_peephole_list_idioms(graph, True)
    compiler._jit_pass_constant_propagation(graph)
    compiler._jit_pass_loop_unrolling(graph)
    compiler._jit_pass_constant_propagation(graph)


def _restore_parameters(graph_module: fx.GraphModule, names: set[str]) -> None:
    """Make parameters of what the converter keeps as buffers; otherwise nothing could train them."""
    for name, tensor in list(graph_module.named_buffers()):
        if name in names:
            owner, _, last = name.rpartition(".")
            parent = graph_module.get_submodule(owner)
            del parent._buffers[last]
            parent.register_parameter(last, nn.Parameter(tensor.detach().clone()))


def _name_convolutions(graph_module: fx.GraphModule) -> None:
    """Call convolutions of traced networks by their own names; traces have one operator for all kinds of them."""
    plain = {1: torch.ops.aten.conv1d.default, 2: torch.ops.aten.conv2d.default, 3: torch.ops.aten.conv3d.default}
    for node in graph_module.graph.nodes:
        if node.target is not torch.ops.aten.convolution.default or len(node.args) != 9:
            continue
        inputs, (stride, padding, dilation, transposed, output_padding, groups) = node.args[:3], node.args[3:]
        if len(stride) not in plain:
            continue
        if not transposed:
            node.target, node.args = plain[len(stride)], (*inputs, stride, padding, dilation, groups)
        elif len(stride) == 2:
            node.target = torch.ops.aten.conv_transpose2d.input
            node.args = (*inputs, stride, padding, output_padding, groups, dilation)
    graph_module.recompile()


def _refuse_source(path: Path, source: str) -> None:
    hooked = _HOOK.search(source)
    touched = _FILE_ACCESS.search(source)
    if hooked or touched:
        found = f"code with '{(touched or hooked).group(1)}'"  # type: ignore[union-attr]  # one of them is there
        raise UnsafeFileError(str(path), expected="a network that computes and nothing else", found=found, hint=_HINT)
    custom = {match.group(0).replace(" ", "") for match in _EXTENSION.finditer(source)}
    custom |= {match.group(1) for match in _CLASS.finditer(source) if match.group(2) not in _PLAIN_BASES}
    operators = {"::".join(match.groups()) for match in _OPERATOR.finditer(source)}
    custom |= {name for name in operators if name.split("::")[0] not in ("aten", "prim")}
    if custom:
        raise _custom(path, sorted(custom))


def _refuse_globals(path: Path, record: str, raw: bytes) -> None:
    try:
        strange = sorted({name for name in _globals(raw) if not _PLAIN_GLOBAL.fullmatch(name)})
    except ValueError as error:
        raise ModelError(
            str(path), expected=f"a pickle in '{record}'", found=first_line(error), hint="Copy or save it again."
        ) from error
    strange += sorted({name for name in _globals(raw) if name.startswith("__torch__.torch.classes.")})
    if strange:
        raise _custom(path, strange)


def _globals(raw: bytes) -> Iterator[str]:
    """Yield what a pickle names, as `module name`, or as `__torch__.Class`; nothing is unpickled."""
    for operation, argument, _ in pickletools.genops(raw):
        if operation.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            yield f"{module}.{name}" if module.startswith("__torch__") else f"{module} {name}"
        elif operation.name in ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4", "NEWOBJ_EX"):
            yield f"the pickle instruction {operation.name}"


def _custom(path: Path, names: list[str]) -> ModelError:
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return ModelError(str(path), expected="modules of torch's own operators", found=f"custom {shown}", hint=_HINT)
