"""Open a model file, without running code that it carries.

What kind a file is, is found by looking inside. `torch.export.load` itself runs what some parts of a `.pt2` say, so
`archive.py` looks at them first and refuses. Every accepted form ends as an exported program and then as a network
of real modules.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import fx, nn

from edgekd.errors import ModelError
from edgekd.models.card import Card, read_card
from edgekd.models.exported import export_program, open_exported
from edgekd.models.formats import form_of, read_model_file
from edgekd.models.rewrite import rebuild
from edgekd.models.weights import open_weights


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
    content = read_model_file(path)
    card = read_card(path)
    shape = input_shape or card.input_shape
    form = form_of(path, content)
    if form == "pt2":
        program = open_exported(path, content, trust_pickle=trust_pickle)
    else:
        module = open_weights(path, content, form, arch, trust_pickle=trust_pickle)
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
