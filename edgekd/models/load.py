"""Open a model file, or take a module, without running code that a file carries.

What kind a file is, is found by looking inside. `torch.export.load` itself runs what some parts of a `.pt2` say, so
`archive.py` looks at them first and refuses. Every accepted form ends as an exported program and then as a network
of real modules.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import fx, nn
from torch.export import ExportedProgram

from edgekd.errors import ModelError
from edgekd.models.card import Card, read_card
from edgekd.models.exported import export_program, open_exported
from edgekd.models.floats import program_to_float32, require_plain_weights, to_float32
from edgekd.models.formats import digest_of, form_of, suffix_remark
from edgekd.models.rewrite import rebuild
from edgekd.models.signature import float32_for, input_specs, output_specs, random_examples, zeros_like_specs
from edgekd.models.torchscript import export_script, open_torchscript
from edgekd.models.weights import open_safetensors, open_torch, unused_arch_remark
from edgekd.records import Finding, TensorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A network as it came, with its inputs and outputs without the batch; `digest` is the file's SHA-256.

    `name` is the file it came from, for messages; `remarks` say what was recognised, chosen or converted on the way.
    """

    name: str
    network: fx.GraphModule
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    digest: str
    form: str
    card: Card
    remarks: tuple[Finding, ...] = ()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the one input.

        Raises:
            ModelError: It takes something else.
        """
        if len(self.inputs) != 1 or len(self.inputs[0].shape) != 3:
            raise ModelError(
                self.name,
                expected="one input of shape [batch, channels, height, width]",
                found=_listed(self.inputs),
                hint="`edgekd inspect` shows what the network takes.",
            )
        channels, height, width = self.inputs[0].shape
        return channels, height, width

    @property
    def classes(self) -> int:
        """The number of classes a classifier tells apart.

        Raises:
            ModelError: It answers something else than logits.
        """
        if len(self.outputs) != 1 or len(self.outputs[0].shape) != 1:
            raise ModelError(
                self.name,
                expected="logits of shape [batch, classes]",
                found=_listed(self.outputs),
                hint="`edgekd inspect` shows what the network gives.",
            )
        return self.outputs[0].shape[0]

    def examples(self, batch: int = 2) -> tuple[torch.Tensor, ...]:
        """Return zeros in the shape of a batch of the inputs."""
        return zeros_like_specs(self.inputs, batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How the user wants a file to be opened."""

    arch: str | None = None
    checkpoint_key: str | None = None
    trust_pickle: bool = False
    inputs: tuple[TensorSpec, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What a file holds: a program, or a module that is still to be exported. `inputs` is what the file says."""

    content: ExportedProgram | nn.Module
    inputs: tuple[TensorSpec, ...] = ()
    remarks: tuple[Finding, ...] = ()


def load_model(
    path: Path,
    *,
    arch: str | None = None,
    input_shape: tuple[int, ...] | None = None,
    inputs: tuple[TensorSpec, ...] = (),
    trust_pickle: bool = False,
    checkpoint_key: str | None = None,
) -> LoadedModel:
    """Return the network in `path`, rebuilt as real modules, in evaluation mode.

    Args:
        path: A `.pt2`, ONNX or TorchScript file, or weights (`.safetensors`, weights-only `.pt`) together with `arch`.
        arch: `package.module:factory`, a callable without arguments that returns the network of the weights.
        input_shape: Of one float32 input, without the batch; short for `inputs`.
        inputs: What the network takes; needed when neither the file nor its card says it.
        trust_pickle: Allow a pickled module, whose code runs when it is opened.
        checkpoint_key: Which entry of a checkpoint holds the weights; by default averaged ones, else the usual names.

    Raises:
        ModelError: Missing, damaged, of another kind, or not fitting `arch`.
        UnsafeFileError: Opening it would run code that it carries.
    """
    form = form_of(path)
    card = read_card(path)
    given = inputs or _one_input(input_shape)
    known = given or _one_input(card.input_shape)
    opening = Opening(arch=arch, checkpoint_key=checkpoint_key, trust_pickle=trust_pickle, inputs=known)
    opened = _OPENERS[form](path, opening)
    remarks = suffix_remark(path, form) + opened.remarks
    if arch is not None and form not in _FORMS_OF_WEIGHTS:
        remarks += unused_arch_remark(path)
    network, found_inputs, outputs, more = _network_of(str(path), opened.content, opened.inputs or known)
    shapes = tuple(spec.shape for spec in found_inputs)
    if given and shapes != tuple(spec.shape for spec in given):
        raise ModelError(
            "--input-size",
            expected=f"{' and '.join(map(str, shapes))}, which {path} was exported for",
            found=" and ".join(str(spec.shape) for spec in given),
            hint="Leave the option out.",
        )
    return LoadedModel(
        name=str(path),
        network=network,
        inputs=found_inputs,
        outputs=outputs,
        digest=digest_of(path),
        form=form,
        card=card,
        remarks=remarks + more,
    )


def from_module(
    module: nn.Module,
    example_inputs: tuple[torch.Tensor, ...] | Mapping[str, torch.Tensor],
    *,
    card: Card | None = None,
) -> LoadedModel:
    """Return a network built in Python as `load_model` would return it from a file.

    Args:
        module: Any module that `torch.export` can follow. It is left as it is, on its device and in its mode.
        example_inputs: A batch of each input, in the order of `forward` or by its names.
        card: What the input means, if it is known.

    Raises:
        ModelError: The module cannot be exported, or its weights cannot be used.
    """
    where = type(module).__name__
    require_plain_weights(where, module.state_dict().items())
    network, inputs, outputs, remarks = _network_of(where, copy.deepcopy(module), (), example_inputs)
    return LoadedModel(
        name=where,
        network=network,
        inputs=inputs,
        outputs=outputs,
        digest=_digest_of_network(network),
        form="module",
        card=card or Card(),
        remarks=remarks,
    )


_Found = tuple[fx.GraphModule, tuple[TensorSpec, ...], tuple[TensorSpec, ...], tuple[Finding, ...]]


def _network_of(
    where: str,
    content: ExportedProgram | nn.Module,
    specs: tuple[TensorSpec, ...],
    examples: tuple[torch.Tensor, ...] | Mapping[str, torch.Tensor] | None = None,
) -> _Found:
    """Return what was opened as a network of real modules in float32, its inputs and outputs, and remarks."""
    if isinstance(content, ExportedProgram):
        require_plain_weights(where, content.state_dict.items())
        network = _rebuilt(where, content)
        inputs = input_specs(where, network)
        network, remarks = program_to_float32(where, content, network, random_examples(inputs))
        # What was in another float type takes and gives float32 now.
        inputs = tuple(dataclasses.replace(spec, dtype=float32_for(spec.dtype)) for spec in inputs)
        return network, inputs, output_specs(where, content, network, inputs), remarks
    module = content.eval()
    require_plain_weights(where, module.state_dict().items())
    if examples is None and not specs:
        raise ModelError(
            where,
            expected="the size of the input",
            found="none in the file and no card beside it",
            hint="Give it with --input-size, for instance --input-size 3,32,32.",
        )
    given = random_examples(specs) if examples is None else examples
    module, remarks = to_float32(where, module, given)
    if isinstance(module, torch.jit.ScriptModule):
        program = export_script(module, tuple(given.values() if isinstance(given, Mapping) else given), where=where)
    else:
        program = export_program(module, given, where=where)
    network = _rebuilt(where, program)
    inputs = input_specs(where, network)
    return network, inputs, output_specs(where, program, network, inputs), remarks


def _one_input(shape: tuple[int, ...] | None) -> tuple[TensorSpec, ...]:
    return () if shape is None else (TensorSpec(name="input", shape=shape),)


def _listed(specs: tuple[TensorSpec, ...]) -> str:
    return f"{len(specs)}: " + ", ".join(f"{spec.name} {list(spec.shape)}" for spec in specs)


def _rebuilt(where: str, program: ExportedProgram) -> fx.GraphModule:
    network = rebuild(program)
    # A constant that is no weight of the program can still be NaN.
    require_plain_weights(where, network.state_dict().items())
    return network


def _digest_of_network(network: fx.GraphModule) -> str:
    """Return the SHA-256 of a network's graph and weights, which stands for the file that there is not."""
    digest = hashlib.sha256(str(network.graph).encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()


def _open_program(path: Path, opening: Opening) -> Opened:
    return Opened(content=open_exported(path, trust_pickle=opening.trust_pickle))


def _open_safetensors(path: Path, opening: Opening) -> Opened:
    module, remarks = open_safetensors(path, opening.arch)
    return Opened(content=module, remarks=remarks)


def _open_torch(path: Path, opening: Opening) -> Opened:
    module, remarks = open_torch(path, opening.arch, opening.checkpoint_key, trust_pickle=opening.trust_pickle)
    return Opened(content=module, remarks=remarks)


def _open_torchscript(path: Path, opening: Opening) -> Opened:  # noqa: ARG001  (openers have one signature)
    return Opened(content=open_torchscript(path))


def _open_onnx(path: Path, opening: Opening) -> Opened:
    from edgekd.models.onnx.open import open_onnx

    network, inputs, remarks = open_onnx(path, opening.inputs)
    return Opened(content=network, inputs=inputs, remarks=remarks)


_FORMS_OF_WEIGHTS = ("safetensors", "torch-zip")
_OPENERS: dict[str, Callable[[Path, Opening], Opened]] = {
    "pt2": _open_program,
    "safetensors": _open_safetensors,
    "torch-zip": _open_torch,
    "torchscript": _open_torchscript,
    "onnx": _open_onnx,
}
