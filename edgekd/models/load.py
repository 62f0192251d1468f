"""Open a model file, without running code that it carries.

What kind a file is, is found by looking inside. `torch.export.load` itself unpickles parts of a `.pt2` when it
meets them (sample inputs that are no plain tensors, custom objects, pickled weights), so those parts are looked at
first and refused. Every accepted form ends as an exported program and then as a network of real modules.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import json
import logging
import pickle
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn

from edgekd.errors import ModelError, UnsafeFileError
from edgekd.models.card import Card, read_card
from edgekd.models.rewrite import rebuild

_TRUST_HINT = "If you made the file or trust who did, add --trust-pickle; better, save it as .pt2 or .safetensors."
_FORMS_HINT = "Accepted: .pt2 (torch.export.save), .safetensors or a weights-only state dict with --arch."


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A network as it came. `input_shape` is (channels, height, width); `digest` is the file's SHA-256."""

    network: fx.GraphModule
    input_shape: tuple[int, int, int]
    classes: int
    digest: str
    form: str
    card: Card


def load_model(
    path: Path,
    *,
    arch: str | None = None,
    input_shape: tuple[int, int, int] | None = None,
    trust_pickle: bool = False,
) -> LoadedModel:
    """Return the network in `path`, rebuilt as real modules, in evaluation mode.

    Args:
        path: A `.pt2`, or weights (`.safetensors`, weights-only `.pt`) together with `arch`.
        arch: `package.module:factory`, a callable without arguments that returns the network of the weights.
        input_shape: (channels, height, width); needed when neither the file nor its card says it.
        trust_pickle: Allow a pickled module, whose code runs when it is opened.

    Raises:
        ModelError: Missing, damaged, of another kind, or not fitting `arch`.
        UnsafeFileError: Opening it would run code that it carries.
    """
    content = _read(path)
    card = read_card(path)
    shape = input_shape or card.input_shape
    form = _form_of(path, content)
    if form == "pt2":
        program = _open_exported(path, content, trust_pickle=trust_pickle)
    else:
        module = _open_weights(path, content, form, arch, trust_pickle=trust_pickle)
        if shape is None:
            raise ModelError(
                str(path),
                expected="the size of the input",
                found="none in the file and no card beside it",
                hint="Give it with --input-size, for instance --input-size 3,32,32.",
            )
        program = export_program(module, shape, where=str(path))
    network = rebuild(program)
    found_shape, classes = _shapes(path, network)
    if input_shape is not None and found_shape != input_shape:
        raise ModelError(
            "--input-size",
            expected=f"{found_shape}, which {path} was exported for",
            found=str(input_shape),
            hint="Leave the option out.",
        )
    _require_finite(path, network)
    digest = hashlib.sha256(content).hexdigest()
    return LoadedModel(network=network, input_shape=found_shape, classes=classes, digest=digest, form=form, card=card)


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
            found=f"{type(error).__name__}: {_first_line(error)}",
            hint="Check --input-size and that forward has no data-dependent branches.",
        ) from error


@contextlib.contextmanager
def quiet_torch() -> Iterator[None]:
    """Keep torch.export's own log lines and deprecation notes out of the user's sight."""
    loggers = [logging.getLogger(name) for name in ("torch.export", "torch.onnx", "torch._export")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(str(path), expected="a model file", found="nothing there", hint="Check the path.") from error
    except OSError as error:
        raise ModelError(
            str(path), expected="a readable model file", found=str(error.strerror), hint=_FORMS_HINT
        ) from error


def _form_of(path: Path, content: bytes) -> str:
    """Name the kind of file from what is in it: `pt2`, `safetensors`, `torch-zip` (state dict or pickled module)."""
    if content[:4] == b"PK\x03\x04":
        names = _archive_names(path, content)
        if any(name.endswith("/archive_format") or name == "archive_format" for name in names):
            return "pt2"
        if any("/code/" in name for name in names):
            raise ModelError(
                str(path),
                expected="an exported program or weights",
                found="a TorchScript archive",
                hint="TorchScript is not read yet. " + _FORMS_HINT,
            )
        if any(name.endswith("data.pkl") for name in names):
            return "torch-zip"
    if len(content) > 8 and content[8:9] == b"{" and int.from_bytes(content[:8], "little") < len(content):
        return "safetensors"
    if content[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        return "torch-zip"
    raise ModelError(str(path), expected="a model file", found=_describe(content), hint=_FORMS_HINT)


def _archive_names(path: Path, content: bytes) -> list[str]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            damaged = archive.testzip()
            if damaged is None:
                return archive.namelist()
            found = f"a damaged entry '{damaged}'"
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError) as error:
        found = f"a truncated or damaged archive ({error})"
    raise ModelError(str(path), expected="a whole zip archive", found=found, hint="Copy or save the file again.")


def _describe(content: bytes) -> str:
    if not content:
        return "an empty file"
    try:
        content[:200].decode("utf-8")
    except UnicodeDecodeError:
        return f"{len(content)} bytes of an unknown format"
    return "a text file"


def _open_exported(path: Path, content: bytes, *, trust_pickle: bool) -> torch.export.ExportedProgram:
    if not trust_pickle:
        _refuse_pickles(path, content)
    try:
        with quiet_torch():
            return torch.export.load(io.BytesIO(content))
    # The loader raises KeyError, RuntimeError, SerializeError, ...: whatever part of a damaged archive it meets first.
    except Exception as error:
        raise ModelError(
            str(path),
            expected="a program saved by torch.export.save",
            found=f"{type(error).__name__}: {_first_line(error)}",
            hint=f"Export it again with torch {torch.__version__.split('+')[0]}.",
        ) from error


def _refuse_pickles(path: Path, content: bytes) -> None:
    """Refuse every part of a `.pt2` that `torch.export.load` would unpickle without restriction."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in archive.namelist():
            base = name.rpartition("/")[2]
            if base.startswith(("custom_obj", "opaque_obj")):
                raise _unsafe(path, f"a pickled object '{name}'")
            if base.endswith("_config.json") and '"use_pickle": true' in _compact(archive.read(name)):
                raise _unsafe(path, f"pickled tensors listed in '{name}'")
            if base.endswith(".pt"):
                try:
                    torch.load(io.BytesIO(archive.read(name)), weights_only=True)
                except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
                    raise _unsafe(path, f"'{name}', which is more than plain tensors") from error


def _compact(raw: bytes) -> str:
    return json.dumps(json.loads(raw))


def _unsafe(path: Path, found: str) -> UnsafeFileError:
    return UnsafeFileError(
        str(path), expected="weights and a graph, and no pickled objects", found=found, hint=_TRUST_HINT
    )


def _open_weights(path: Path, content: bytes, form: str, arch: str | None, *, trust_pickle: bool) -> nn.Module:
    """Return the module that weights or a pickle stand for."""
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
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not trust_pickle:
            raise _unsafe(path, "a pickled object that runs code when it is opened") from error
    except (RuntimeError, EOFError) as error:
        raise ModelError(
            str(path), expected="a whole file", found=_first_line(error), hint="Copy or save it again."
        ) from error
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=False)
    # Unpickling runs the file's own code, which may raise anything.
    except Exception as error:
        raise ModelError(
            str(path),
            expected="a module whose classes can be imported",
            found=f"{type(error).__name__}: {_first_line(error)}",
            hint="Run the command from the folder that holds the network's source.",
        ) from error


def build_architecture(arch: str) -> nn.Module:
    """Return what `package.module:factory` builds; the working folder is importable.

    Raises:
        ModelError: There is no such factory, it fails, or it returns something else.
    """
    module_name, _, attribute = arch.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        if not attribute:
            raise AttributeError("no ':factory' in the name")
        factory: Callable[[], Any] = getattr(importlib.import_module(module_name), attribute)
        module = factory()
    # The factory is the user's code and may raise anything.
    except Exception as error:
        raise ModelError(
            f"--arch {arch}",
            expected="package.module:factory, a callable without arguments",
            found=f"{type(error).__name__}: {_first_line(error)}",
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


def _shapes(path: Path, network: fx.GraphModule) -> tuple[tuple[int, int, int], int]:
    """Return the input's (channels, height, width) and the number of classes."""
    nodes = list(network.graph.nodes)
    shape = next(node for node in nodes if node.op == "placeholder").meta["shape"][1:]
    if len(shape) != 3 or None in shape:
        raise ModelError(
            str(path),
            expected="an input of shape [batch, channels, height, width]",
            found=f"[batch, {', '.join(map(str, shape))}]",
            hint="Export the network for images of one fixed size.",
        )
    with torch.no_grad():
        logits = network(torch.zeros(2, *shape))
    if logits.dim() != 2:
        raise ModelError(
            str(path),
            expected="logits of shape [batch, classes]",
            found=f"an output of shape {list(logits.shape)}",
            hint="Only classification networks are compressed so far.",
        )
    return (shape[0], shape[1], shape[2]), logits.shape[1]


def _require_finite(path: Path, network: nn.Module) -> None:
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelError(
                str(path),
                expected="finite weights",
                found=f"NaN or infinity in '{name}'",
                hint="The network was saved after training diverged; use an earlier checkpoint.",
            )


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
