"""What a network takes and gives: names, shapes and types of its inputs and outputs."""

from __future__ import annotations

import torch
from torch import fx
from torch.export import ExportedProgram

from edgekd.errors import ModelError
from edgekd.models.exported import first_line
from edgekd.records import TensorSpec

_HALVES_AND_DOUBLES = ("float16", "bfloat16", "float64")


def input_specs(where: str, network: fx.GraphModule) -> tuple[TensorSpec, ...]:
    """Return the inputs of a rebuilt network.

    Raises:
        ModelError: A size besides the batch is not fixed.
    """
    specs = []
    for node in network.graph.nodes:
        if node.op != "placeholder":
            continue
        shape = node.meta.get("shape", ())
        if not shape or None in shape[1:]:
            raise ModelError(
                where,
                expected=f"an input '{node.name}' of one fixed size after the batch",
                found="[batch, " + ", ".join("any" if size is None else str(size) for size in shape[1:]) + "]",
                hint="Export the network for one input size.",
            )
        specs.append(TensorSpec(name=node.name, shape=tuple(shape[1:]), dtype=_name(node.meta["dtype"])))
    return tuple(specs)


def output_specs(
    where: str, program: ExportedProgram, network: fx.GraphModule, inputs: tuple[TensorSpec, ...]
) -> tuple[TensorSpec, ...]:
    """Return the outputs, found by running the network on a batch of 2 and of 3.

    Raises:
        ModelError: It takes one batch size only, or an output does not have the batch first.
    """
    results = [_results(where, network, inputs, batch) for batch in (2, 3)]
    specs = []
    for name, small, large in zip(_output_names(program, len(results[0])), *results, strict=True):
        if small.shape[:1] != (2,) or large.shape[:1] != (3,) or small.shape[1:] != large.shape[1:]:
            raise ModelError(
                where,
                expected=f"an output '{name}' with the batch first",
                found=f"{list(small.shape)} for a batch of 2 and {list(large.shape)} for one of 3",
                hint="Return outputs of shape [batch, ...].",
            )
        specs.append(TensorSpec(name=name, shape=tuple(small.shape[1:]), dtype=_name(small.dtype)))
    return tuple(specs)


def zeros_like_specs(specs: tuple[TensorSpec, ...], batch: int) -> tuple[torch.Tensor, ...]:
    """Return a batch of zeros for each input."""
    return tuple(torch.zeros(batch, *spec.shape, dtype=getattr(torch, spec.dtype)) for spec in specs)


def random_examples(specs: tuple[TensorSpec, ...]) -> tuple[torch.Tensor, ...]:
    """Return a batch of 2 for each input: standard normal in float32, or zeros where it is of whole numbers."""
    generator = torch.Generator().manual_seed(0)
    return tuple(
        torch.randn(2, *spec.shape, generator=generator)
        if getattr(torch, spec.dtype).is_floating_point
        else torch.zeros(2, *spec.shape, dtype=getattr(torch, spec.dtype))
        for spec in specs
    )


def float32_for(dtype: str) -> str:
    """Return `float32` for every other type of float, and the type itself for the rest."""
    return "float32" if dtype in _HALVES_AND_DOUBLES else dtype


def _results(
    where: str, network: fx.GraphModule, inputs: tuple[TensorSpec, ...], batch: int
) -> tuple[torch.Tensor, ...]:
    try:
        with torch.no_grad():
            result = network(*zeros_like_specs(inputs, batch))
    # Whatever operator meets the wrong size first raises.
    except Exception as error:
        raise ModelError(
            where,
            expected=f"a network that takes batches of any size, here of {batch}",
            found=f"{type(error).__name__}: {first_line(error)}",
            hint="Export it with a dynamic batch: dynamic_shapes=({0: torch.export.Dim.AUTO},).",
        ) from error
    return result if isinstance(result, tuple) else (result,)


def _output_names(program: ExportedProgram, count: int) -> tuple[str, ...]:
    """The keys of a dict of outputs; else `logits`, or numbers where there are several."""
    spec = program.call_spec.out_spec
    if spec is not None and spec.type is dict and len(spec.context) == count:
        return tuple(str(key) for key in spec.context)
    return ("logits",) if count == 1 else tuple(f"output_{index}" for index in range(count))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
