"""Exported programs: made from a module, or opened from a `.pt2`."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from torch import nn

from edgekd.errors import ModelError
from edgekd.models.archive import refuse_code
from edgekd.models.quiet import quiet_torch


def export_program(
    module: nn.Module, input_shape: tuple[int, ...], *, where: str = "model"
) -> torch.export.ExportedProgram:
    """Return `module` as torch.export sees it in evaluation mode, with a dynamic batch size.

    Raises:
        ModelError: torch.export cannot follow the module.
    """
    example = torch.zeros(2, *input_shape)
    try:
        with quiet_torch(), torch.no_grad():
            return torch.export.export(
                module.eval(), (example,), dynamic_shapes=({0: torch.export.Dim.AUTO},), strict=False
            )
    # torch.export raises whatever the user's forward raises, besides errors of its own.
    except Exception as error:
        raise ModelError(
            where,
            expected=f"a network that takes one input of shape [batch, {', '.join(map(str, input_shape))}]",
            found=f"{type(error).__name__}: {first_line(error)}",
            hint="Check --input-size and that forward has no data-dependent branches.",
        ) from error


def open_exported(path: Path, content: bytes, *, trust_pickle: bool) -> torch.export.ExportedProgram:
    """Return the program in the bytes of a `.pt2`.

    Raises:
        UnsafeFileError: Opening it would run code that it carries, and `trust_pickle` is not set.
        ModelError: It is damaged, or torch cannot read it.
    """
    if not trust_pickle:
        refuse_code(path, content)
    try:
        with quiet_torch():
            return torch.export.load(io.BytesIO(content))
    # The loader raises KeyError, RuntimeError, SerializeError, ...: whatever part of a damaged archive it meets first.
    except Exception as error:
        raise ModelError(
            str(path),
            expected="a program saved by torch.export.save",
            found=f"{type(error).__name__}: {first_line(error)}",
            hint=f"Export it again with torch {torch.__version__.split('+')[0]}.",
        ) from error


def first_line(error: BaseException) -> str:
    """Return the first line of a message that says something; torch's often go on for pages."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
