"""Exported programs: made from a module, or opened from a `.pt2`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgekd.errors import ModelError
from edgekd.models.archive import refuse_code
from edgekd.models.quiet import quiet_torch


def export_program(
    module: nn.Module, inputs: Sequence[Any] | Mapping[str, Any], *, where: str = "model"
) -> torch.export.ExportedProgram:
    """Return `module` as torch.export sees it in evaluation mode, with a dynamic batch size.

    Args:
        module: Any module.
        inputs: Example inputs, positional or by name; tensors, or lists, tuples and dicts of them, of a batch above 1.
        where: Whom to name in an error.

    Raises:
        ModelError: torch.export cannot follow the module.
    """
    positional = () if isinstance(inputs, Mapping) else tuple(inputs)
    named = dict(inputs) if isinstance(inputs, Mapping) else {}
    try:
        with quiet_torch(), torch.no_grad():
            return torch.export.export(
                module.eval(), positional, named, dynamic_shapes=_dynamic_batch(inputs), strict=False
            )
    # torch.export raises whatever the user's forward raises, besides errors of its own.
    except Exception as error:
        raise ModelError(
            where,
            expected=f"a network that takes {described(inputs)}",
            found=f"{type(error).__name__}: {first_line(error)}",
            hint="Check --input-size and that forward has no data-dependent branches.",
        ) from error


def _dynamic_batch(inputs: Any) -> Any:
    """The first axis of every tensor is the batch; one for each positional input, or by name."""
    if isinstance(inputs, torch.Tensor):
        return {0: torch.export.Dim.AUTO}
    if isinstance(inputs, Mapping):
        return {name: _dynamic_batch(value) for name, value in inputs.items()}
    if isinstance(inputs, (list, tuple)):
        parts = [_dynamic_batch(value) for value in inputs]
        return parts if isinstance(inputs, list) else tuple(parts)
    return None


def described(inputs: Any) -> str:
    """Say how many inputs there are and of which shapes."""
    tensors = torch.utils._pytree.tree_leaves(inputs)
    shapes = [f"[batch, {', '.join(map(str, t.shape[1:]))}]" for t in tensors if isinstance(t, torch.Tensor)]
    return f"{len(shapes)} input{'s' if len(shapes) > 1 else ''} of shape {' and '.join(shapes)}"


def open_exported(path: Path, *, trust_pickle: bool) -> torch.export.ExportedProgram:
    """Return the program in a `.pt2`.

    Raises:
        UnsafeFileError: Opening it would run code that it carries, and `trust_pickle` is not set.
        ModelError: It is damaged, or torch cannot read it.
    """
    # One open file for the look and for the load: what was looked at is what is loaded.
    with path.open("rb") as stream:
        if not trust_pickle:
            refuse_code(path, stream)
            stream.seek(0)
        try:
            with quiet_torch():
                return torch.export.load(stream)
        # The loader raises KeyError, RuntimeError, SerializeError, ...: whatever part of a damaged archive it meets
        # first.
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
