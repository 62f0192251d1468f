"""Bring weights of every kind to float32 on the CPU, or say why not."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Mapping

import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.utils._pytree import tree_map

from edgekd.errors import ModelError
from edgekd.models.quiet import quiet_torch
from edgekd.records import Finding

# Of the largest logit. Rounding a network to float32 costs about 1e-6; more means it needs what float32 has not.
_TOLERANCE = 1e-3
_OTHER_FLOATS = frozenset((torch.float64, torch.float16, torch.bfloat16))


def require_plain_weights(where: str, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Refuse weights that are not there, not real or not finite.

    Raises:
        ModelError: A tensor is on the meta device, complex, or holds NaN or infinity.
    """
    for name, tensor in tensors:
        found, hint = None, ""
        if tensor.is_meta:
            found, hint = f"no values in '{name}', which is on the meta device", "Save it after its weights are filled."
        elif tensor.is_complex():
            found, hint = f"complex numbers in '{name}'", "Write the network with real weights."
        elif tensor.is_floating_point() and not torch.isfinite(tensor).all():
            found = f"NaN or infinity in '{name}'"
            hint = "The network was saved after training diverged; use an earlier checkpoint."
        if found is not None:
            raise ModelError(where, expected="finite weights", found=found, hint=hint)


def to_float32(
    where: str, module: nn.Module, examples: tuple[torch.Tensor, ...] | Mapping[str, torch.Tensor]
) -> tuple[nn.Module, tuple[Finding, ...]]:
    """Return the module in float32 on the CPU, with a note if it was something else.

    Args:
        where: The file, for messages.
        module: In evaluation mode; it is converted in place.
        examples: Inputs in float32, in order or by name, by which the answers before and after are compared.

    Raises:
        ModelError: In float32 it computes something else.
    """
    module = module.cpu()
    kinds = {tensor.dtype for tensor in itertools.chain(module.parameters(), module.buffers())} & _OTHER_FLOATS
    if not kinds:
        return module, ()
    # float64 tells what a network means, also of one that was stored in float16 to save space.
    exact = _answer(copy.deepcopy(module).double(), tree_map(lambda x: _in(torch.float64, x), examples))
    module = module.float()
    return module, _remark(where, kinds, exact, _answer(module, examples))


def program_to_float32(
    where: str, program: ExportedProgram, network: fx.GraphModule, examples: tuple[torch.Tensor, ...]
) -> tuple[fx.GraphModule, tuple[Finding, ...]]:
    """Return what was rebuilt from a program in float32, with a note if the program was something else.

    Raises:
        ModelError: In float32 it computes something else.
    """
    kinds = {tensor.dtype for tensor in program.state_dict.values()} & _OTHER_FLOATS
    if not kinds:
        return network, ()
    inputs = [node.meta["val"] for node in program.graph.nodes if node.name in program.graph_signature.user_inputs]
    own = tuple(example.to(value.dtype) for example, value in zip(examples, inputs, strict=True))
    exact = _answer(program.module(check_guards=False), own)
    network = network.float()
    return network, _remark(where, kinds, exact, _answer(network, examples))


def _remark(
    where: str, kinds: Iterable[torch.dtype], exact: torch.Tensor | None, rounded: torch.Tensor | None
) -> tuple[Finding, ...]:
    message = f"its weights are {_names(kinds)}; they were converted to float32"
    if exact is not None and rounded is not None:
        gap = float((exact - rounded).abs().max() / exact.abs().max().clamp_min(1e-12))
        if not gap <= _TOLERANCE:
            raise ModelError(
                where,
                expected="a network that computes the same in float32",
                found=f"logits that differ by {gap:.0e} of the largest",
                hint="Train it in float32: the devices it is compressed for have nothing finer.",
            )
        message += f", which changes logits by {gap:.0e} of the largest"
    return (Finding(level="note", code="weights-converted", subject=where, message=message),)


def _names(kinds: Iterable[torch.dtype]) -> str:
    return ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))


def _in(kind: torch.dtype, tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(kind) if tensor.is_floating_point() else tensor


def _answer(module: nn.Module, examples: tuple[torch.Tensor, ...] | Mapping[str, torch.Tensor]) -> torch.Tensor | None:
    """Return the first output, or `None` where `forward` fails: exporting meets the same and says so."""
    try:
        with quiet_torch(), torch.no_grad():
            answer = module(**examples) if isinstance(examples, Mapping) else module(*examples)
    except Exception:  # noqa: BLE001  # the user's forward may raise anything
        return None
    answer = answer[0] if isinstance(answer, (tuple, list)) else answer
    return answer.double() if isinstance(answer, torch.Tensor) else None
