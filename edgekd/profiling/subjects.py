"""Networks whose operators are measured: as ONNX files whose nodes name the operators they belong to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import fx

from edgekd.export.onnx.export import onnx_model
from edgekd.hardware.operators import Operators
from edgekd.models.exported import export_program
from edgekd.models.load import LoadedModel
from edgekd.models.rewrite import rebuild
from edgekd.models.signature import random_examples
from edgekd.profiling.suite import SUITE, random_network, suite_shape
from edgekd.prune.groups import ChannelMap, find_groups
from edgekd.prune.importance import rank_units
from edgekd.prune.slicing import narrow
from edgekd.quantize.prepare import calibrate, prepare
from edgekd.records import Plan, Precision, TensorSpec
from edgekd.search.plan_costs import widths_of
from edgekd.search.space import count_operators, width_space

# Which network a number stands for.
SubjectSource = Callable[[int], "Subject"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A network to measure, which is made when it is first asked for.

    Attributes:
        name: The same for the same network.
        inputs: Without the batch.
        make: Returns the network, with weights of any values, which times do not depend on, and its operators.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    make: Callable[[], tuple[fx.GraphModule, Operators]]

    @cached_property
    def made(self) -> tuple[fx.GraphModule, Operators]:
        """The network and its operators, of one plan."""
        return self.make()

    @property
    def operators(self) -> Operators:
        """One plan."""
        return self.made[1]

    def onnx(self, precision: Precision) -> bytes:
        """Return the file, its nodes named after those of the network."""
        network = self.made[0]
        with torch.no_grad():
            if precision == "int8":
                network = prepare(network)
                calibrate(network, iter([random_examples(self.inputs)]))
            model = onnx_model(network, precision=precision, inputs=self.inputs, is_labelled=True)
        content: bytes = model.SerializeToString(deterministic=True)
        return content

    def owners(self) -> Mapping[str, str]:
        """Return by the name of each node the operator its time belongs to: itself, or the one it follows."""
        network, operators = self.made
        names = set(operators.names)
        found: dict[str, str] = {}
        for node in network.graph.nodes:
            sources = [source.name for source in node.all_input_nodes if source.name in found]
            if node.name in names:
                found[node.name] = node.name
            elif sources:
                found[node.name] = found[sources[0]]
        return found


def suite_subject(number: int, *, most_macs: float) -> Subject:
    """Return a random network; see `suite`."""
    inputs = (TensorSpec(name="input", shape=suite_shape(number)),)

    def make() -> tuple[fx.GraphModule, Operators]:
        module = random_network(number, most_macs=most_macs)
        network = rebuild(export_program(module, random_examples(inputs)))
        channels = find_groups(network)
        full = np.array([[group.units for group in channels.prunable]], dtype=np.int64)
        return network, count_operators(network, channels, full)

    return Subject(name=f"random {number} of suite {SUITE}, at most {most_macs:.3g} MACs", inputs=inputs, make=make)


def plan_subject(
    name: str, network: fx.GraphModule, channels: ChannelMap, plan: Plan, inputs: tuple[TensorSpec, ...]
) -> Subject:
    """Return a network under a plan."""

    def make() -> tuple[fx.GraphModule, Operators]:
        return narrow(network, channels, plan), count_operators(network, channels, widths_of(channels, plan))

    return Subject(name=name, inputs=inputs, make=make)


def model_subjects(model: LoadedModel, digest: str, channel_multiple: int) -> SubjectSource:
    """Return networks that a search may come to from a model: 0 is itself, the others have random widths.

    Args:
        model: The network.
        digest: Of its file, for the names.
        channel_multiple: The step of widths.
    """
    channels = rank_units(model.network, find_groups(model.network))
    space = width_space(channels, channel_multiple)

    def subject(number: int) -> Subject:
        generator = np.random.default_rng([number, 2])
        drawn = np.array([int(generator.integers(len(choices))) for choices in space.choices], dtype=np.int64)
        plan = space.plan(space.widths((space.uniform(1.0) if number == 0 else drawn)[None])[0])

        return plan_subject(f"{digest[:12]} plan {plan.id}", model.network, channels, plan, model.inputs)

    return subject
