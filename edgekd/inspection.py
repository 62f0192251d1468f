"""What a network is made of and what it would cost: the facts behind `edgekd inspect`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import fx

from edgekd.errors import EdgeKDError
from edgekd.export.onnx.export import onnx_model
from edgekd.models.load import LoadedModel
from edgekd.models.memory import peak_activations
from edgekd.prune.groups import ChannelMap, find_groups
from edgekd.quantize.prepare import prepare
from edgekd.records import ChannelGroup, Cost, Finding, Precision, Target, TensorSpec
from edgekd.search.plan_costs import plan_cost
from edgekd.search.space import count_operators

_PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceCost:
    """What the network as it came costs on one processor of a target."""

    target: str
    processor: str
    precision: Precision
    cost: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """A network's parts and costs.

    Attributes:
        form: The kind of file.
        inputs: Without the batch.
        outputs: Without the batch.
        groups: The prunable ones first, then those left whole with their reason.
        parameters: All of them.
        macs: Multiply-accumulates for one example, of convolutions, linear layers and matrix products.
        prunable_share: How much of the deployed weights is gone when every group is at a width of 1.
        peak_activations: The most elements alive at once for one example.
        file_bytes: Size of the ONNX file by precision; one that cannot be written is missing, and a remark says why.
        costs: Predictions for the targets asked for.
        remarks: What else there is to know.
    """

    form: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    groups: tuple[ChannelGroup, ...]
    parameters: int
    macs: int
    prunable_share: float
    peak_activations: int
    file_bytes: dict[str, int]
    costs: tuple[PlaceCost, ...]
    remarks: tuple[Finding, ...]


def inspect_model(model: LoadedModel, targets: tuple[Target, ...], *, with_files: bool = True) -> Inspection:
    """Return what there is to know about a network without data.

    Args:
        model: The network.
        targets: Where to predict its cost.
        with_files: Also write its ONNX files, in memory, to know their sizes; that takes seconds each.
    """
    network, channels = model.network, find_groups(model.network)
    full, smallest = _both_ends(channels)
    operators = count_operators(network, channels, np.stack([full, smallest]))
    weights = operators.weight_elements.sum(axis=1)
    file_bytes, failures = _file_sizes(model) if with_files else ({}, ())
    plan = channels.full_plan()
    return Inspection(
        form=model.form,
        inputs=model.inputs,
        outputs=model.outputs,
        groups=channels.groups,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        macs=int(operators.macs[0].sum()),
        prunable_share=float(1.0 - weights[1] / weights[0]) if weights[0] else 0.0,
        peak_activations=peak_activations(network),
        file_bytes=file_bytes,
        costs=tuple(
            PlaceCost(
                target=target.name,
                processor=processor,
                precision=precision,
                cost=plan_cost(network, channels, plan, target, precision, processor),
            )
            for target in targets
            for precision, processor in target.artifacts
        ),
        remarks=(*model.remarks, *_network_remarks(network, channels), *failures),
    )


def _both_ends(channels: ChannelMap) -> tuple[np.ndarray, np.ndarray]:
    """The widths of the whole network and of the narrowest one, `[groups]` each."""
    full = np.array([group.units for group in channels.prunable], dtype=np.int64)
    return full, np.ones_like(full)


def _file_sizes(model: LoadedModel) -> tuple[dict[str, int], tuple[Finding, ...]]:
    sizes: dict[str, int] = {}
    failures = []
    for precision in _PRECISIONS:
        # Ranges decide what an int8 file computes, not how large it is.
        network = prepare(model.network) if precision == "int8" else model.network
        names = tuple(spec.name for spec in model.outputs)
        try:
            file = onnx_model(network, precision=precision, inputs=model.inputs, outputs=names)
        except EdgeKDError as error:
            message = f"no ONNX file in {precision}: {error.found}"
            failures.append(Finding(level="warning", code="no-onnx", subject=model.form, message=message))
            continue
        sizes[precision] = file.ByteSize()
    return sizes, tuple(failures)


def _network_remarks(network: fx.GraphModule, channels: ChannelMap) -> tuple[Finding, ...]:
    remarks = []
    if not channels.prunable:
        message = "nothing can be pruned"
        remarks.append(Finding(level="warning", code="nothing-prunable", subject="groups", message=message))
    recurrent = [node for node in network.graph.nodes if str(node.target).split(".")[0] in ("aten::lstm", "aten::gru")]
    recurrent += [n for n in network.graph.nodes if getattr(n.target, "__name__", "").startswith(("lstm.", "gru."))]
    for node in recurrent:
        place = node.meta.get("where", node.name)
        message = "recurrent layers keep their widths, and their multiplications are not counted"
        remarks.append(Finding(level="note", code="recurrent", subject=str(place), message=message))
    return tuple(remarks)
