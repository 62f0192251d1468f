"""Weights files, and the network that `--arch` builds for them."""

from __future__ import annotations

import importlib
import io
import pickle
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgekd.errors import ModelError
from edgekd.models.archive import unsafe
from edgekd.models.exported import first_line
from edgekd.models.quiet import quiet_torch


def open_weights(path: Path, content: bytes, form: str, arch: str | None, *, trust_pickle: bool) -> nn.Module:
    """Return the module that weights or a pickle stand for.

    Raises:
        ModelError: The file is damaged, holds something else, or does not fit `arch`.
        UnsafeFileError: It is a pickled module, and `trust_pickle` is not set.
    """
    if form == "safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            state: Any = load(content)
        except (SafetensorError, ValueError, KeyError) as error:
            raise ModelError(
                str(path),
                expected="a whole safetensors file",
                found=str(error),
                hint="Copy or save the file again.",
            ) from error
    else:
        state = _load_torch(path, content, trust_pickle=trust_pickle)
        if isinstance(state, nn.Module):
            return state
    if not isinstance(state, Mapping) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ModelError(
            str(path),
            expected="a state dict: names and tensors",
            found=f"a {type(state).__name__}",
            hint="Save model.state_dict() alone.",
        )
    if arch is None:
        raise ModelError(
            str(path),
            expected="a network",
            found="weights without a network",
            hint="Name the function that builds the network: --arch package.module:factory.",
        )
    return _fill(path, build_architecture(arch), arch, state)


def _load_torch(path: Path, content: bytes, *, trust_pickle: bool) -> Any:
    try:
        with quiet_torch():
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not trust_pickle:
            raise unsafe(path, "a pickled object that runs code when it is opened") from error
    except (RuntimeError, EOFError) as error:
        raise ModelError(
            str(path), expected="a whole file", found=first_line(error), hint="Copy or save it again."
        ) from error
    try:
        with quiet_torch():
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=False)
    # Unpickling runs the file's own code, which may raise anything.
    except Exception as error:
        raise ModelError(
            str(path),
            expected="a module whose classes can be imported",
            found=f"{type(error).__name__}: {first_line(error)}",
            hint="Run the command from the folder that holds the network's source.",
        ) from error


def build_architecture(arch: str) -> nn.Module:
    """Return what `package.module:factory` builds; the working folder is importable.

    Raises:
        ModelError: There is no such factory, it fails, or it returns something else.
    """
    module_name, _, attribute = arch.partition(":")
    if not module_name or not attribute:
        raise ModelError(
            f"--arch {arch}",
            expected="package.module:factory, a callable without arguments",
            found="no module or no factory in the name",
            hint="Put a colon between the module and the function that builds the network.",
        )
    sys.path.insert(0, str(Path.cwd()))
    try:
        factory: Callable[[], Any] = getattr(importlib.import_module(module_name), attribute)
        module = factory()
    # The factory is the user's code and may raise anything.
    except Exception as error:
        raise ModelError(
            f"--arch {arch}",
            expected="package.module:factory, a callable without arguments",
            found=f"{type(error).__name__}: {first_line(error)}",
            hint="Run from the folder that holds the module, or install it.",
        ) from error
    finally:
        sys.path.remove(str(Path.cwd()))
    if not isinstance(module, nn.Module):
        raise ModelError(
            f"--arch {arch}",
            expected="a factory that returns a torch.nn.Module",
            found=type(module).__name__,
            hint="Return the network itself.",
        )
    return module


def _fill(path: Path, module: nn.Module, arch: str, state: Mapping[str, torch.Tensor]) -> nn.Module:
    own = module.state_dict()
    # Checkpoints older than batch norm's batch counter lack it, and nothing depends on it.
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    extra = [name for name in state if name not in own]
    shapes = [
        f"{name} is {list(state[name].shape)}, not {list(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    problems = [f"missing {n}" for n in missing] + [f"unknown {n}" for n in extra] + shapes
    if problems:
        shown = "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
        raise ModelError(
            f"{path} with --arch {arch}",
            expected="the weights of that network",
            found=shown,
            hint="Check that the factory builds the network these weights were saved from.",
        )
    module.load_state_dict(dict(state), strict=False)
    return module
