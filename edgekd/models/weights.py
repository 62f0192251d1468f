"""Weights files, and the network that `--arch` builds for them."""

from __future__ import annotations

import importlib
import json
import pickle
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgekd.errors import ModelError
from edgekd.models.archive import unsafe
from edgekd.models.checkpoints import StateDict, find_weights, strip_prefixes
from edgekd.models.exported import first_line
from edgekd.models.quiet import quiet_torch
from edgekd.records import Finding

_MOST_HEADER_BYTES = 100 * 10**6  # as in the library
_SIZE_HINT = "Check that the factory builds the network these weights were saved from."


def open_safetensors(path: Path, arch: str | None) -> tuple[nn.Module, tuple[Finding, ...]]:
    """Return the network of `arch` with the weights in the file.

    Names and shapes are compared before any weight is read, so that a large file of another network costs nothing.

    Raises:
        ModelError: The file is damaged or does not fit `arch`.
    """
    from safetensors import SafetensorError, safe_open

    try:
        shapes = _declared_shapes(path)
        module = _require_architecture(path, arch)
        renamed, remarks = strip_prefixes(path, shapes, module.state_dict())
        _require_fit(path, module, arch, renamed)
        with safe_open(path, framework="pt", device="cpu") as stored:
            state = {name: stored.get_tensor(name) for name in shapes}
    except (SafetensorError, ValueError, KeyError, TypeError, OSError, RuntimeError) as error:
        raise ModelError(
            str(path), expected="a whole safetensors file", found=first_line(error), hint="Copy or save the file again."
        ) from error
    return _fill(module, strip_prefixes(path, state, module.state_dict())[0]), remarks


def _declared_shapes(path: Path) -> StateDict:
    """Return what a safetensors file says its tensors are, as tensors without values.

    The library maps the whole file before it tells this. See https://github.com/huggingface/safetensors for the format.
    """
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > _MOST_HEADER_BYTES:
            raise ValueError(f"a header of {length:,} bytes")
        header = json.loads(stream.read(length))
    tensors = ((name, entry) for name, entry in header.items() if name != "__metadata__")
    return {name: torch.empty(entry["shape"], device="meta") for name, entry in tensors}


def open_torch(
    path: Path, arch: str | None, key: str | None, *, trust_pickle: bool
) -> tuple[nn.Module, tuple[Finding, ...]]:
    """Return the network of `arch` with weights that `torch.save` wrote, or the module that was pickled.

    Raises:
        ModelError: The file is damaged, holds something else, or does not fit `arch`.
        UnsafeFileError: It is a pickled module, and `trust_pickle` is not set.
    """
    content = _load_torch(path, trust_pickle=trust_pickle)
    if isinstance(content, nn.Module):
        return content, _unused_remark(path, arch)
    inner = _module_within(content) if key is None else None
    if inner is not None:
        return inner, _unused_remark(path, arch)
    state, remarks = find_weights(path, content, key)
    module = _require_architecture(path, arch)
    state, more = strip_prefixes(path, state, module.state_dict())
    _require_fit(path, module, arch, state)
    return _fill(module, state), (*remarks, *more)


def _module_within(content: Any) -> nn.Module | None:
    """Return the whole module that some loops save in a dictionary, averaged weights first; only a pickle has one."""
    if not isinstance(content, Mapping):
        return None
    candidates = (content.get(name) for name in ("ema", "model", "net", "module"))
    return next((value for value in candidates if isinstance(value, nn.Module)), None)


def _unused_remark(path: Path, arch: str | None) -> tuple[Finding, ...]:
    return unused_arch_remark(path) if arch is not None else ()


def unused_arch_remark(path: Path) -> tuple[Finding, ...]:
    """Return a note that `--arch` did nothing."""
    message = "the file holds the whole network; --arch was not used"
    return (Finding(level="note", code="arch-not-used", subject=str(path), message=message, hint="Leave --arch out."),)


def _load_torch(path: Path, *, trust_pickle: bool) -> Any:
    # Only the newer format, a zip, can be mapped; its tensors are read when they are copied into the network.
    with path.open("rb") as stream:
        is_zip = stream.read(2) == b"PK"
    try:
        with quiet_torch():
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        if not trust_pickle:
            raise unsafe(path, "a pickled object that runs code when it is opened") from error
    # Damage ends in as many ways as a file has parts: RuntimeError, EOFError, KeyError, ...
    except Exception as error:
        raise ModelError(
            str(path), expected="a whole file", found=first_line(error), hint="Copy or save it again."
        ) from error
    try:
        with quiet_torch():
            return torch.load(path, map_location="cpu", weights_only=False)
    # Unpickling runs the file's own code, which may raise anything.
    except Exception as error:
        raise ModelError(
            str(path),
            expected="a module whose classes can be imported",
            found=f"{type(error).__name__}: {first_line(error)}",
            hint="Run the command from the folder that holds the network's source.",
        ) from error


def _require_architecture(path: Path, arch: str | None) -> nn.Module:
    if arch is None:
        raise ModelError(
            str(path),
            expected="a network",
            found="weights without a network",
            hint="Name the function that builds the network: --arch package.module:factory.",
        )
    return build_architecture(arch)


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


def _require_fit(path: Path, module: nn.Module, arch: str | None, state: Mapping[str, torch.Tensor]) -> None:
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
            f"{path} with --arch {arch}", expected="the weights of that network", found=shown, hint=_SIZE_HINT
        )


def _fill(module: nn.Module, state: StateDict) -> nn.Module:
    # The network takes the type of its weights, so that a float64 one is seen as what it is.
    kinds = {tensor.dtype for tensor in state.values() if tensor.is_floating_point() or tensor.is_complex()}
    if any(kind.is_complex for kind in kinds) or any(tensor.is_meta for tensor in state.values()):
        module.load_state_dict(state, strict=False, assign=True)
        return module
    if len(kinds) == 1:
        module.to(next(iter(kinds)))
    module.load_state_dict(state, strict=False)
    return module
