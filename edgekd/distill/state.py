"""The state of a training: what an epoch leaves behind, written before the next begins."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from torch import fx, nn

from edgekd.distill.objective import Objective
from edgekd.distill.phase import EpochRecord, Phase
from edgekd.errors import DistillError
from edgekd.prune.slicing import copy_network
from edgekd.quantize.prepare import set_observing
from edgekd.records import Metric
from edgekd.store import written_whole


class TrainingState:
    """The network in training, its moving average, objective and optimizer, as one thing to save and restore."""

    def __init__(self, network: fx.GraphModule, phase: Phase, objective: Objective) -> None:
        self.phase, self.objective = phase, objective
        self.network = copy_network(network)
        nn.Module.to(self.network, memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs lack it
        self.average = copy_network(self.network).eval()
        decayed = [p for p in self.network.parameters() if p.dim() > 1]
        others = [p for p in self.network.parameters() if p.dim() <= 1]
        self.optimizer = torch.optim.SGD(
            [
                {"params": decayed, "weight_decay": phase.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=phase.learning_rate,
            momentum=phase.momentum,
            nesterov=True,
        )
        set_observing(self.average, is_observing=False)

    def add_objective(self, previous: Path | None) -> None:
        """Train what the objective has, once it is built, from where an earlier phase left it if that fits."""
        parameters = list(self.objective.parameters())
        if parameters:
            self.optimizer.add_param_group({"params": parameters, "weight_decay": self.phase.weight_decay})
        if previous is None or not previous.is_file():
            return
        tensors, _ = self._read(previous)
        found, wanted = _under("objective", tensors), self.objective.state_dict()
        if {name: value.shape for name, value in found.items()} == {n: v.shape for n, v in wanted.items()}:
            self.objective.load_state_dict(found)

    def update_average(self, decay: float) -> None:
        """Move the average towards the network."""
        with torch.no_grad():
            own: list[torch.Tensor] = list(self.network.parameters())
            average: list[torch.Tensor] = list(self.average.parameters())
            torch._foreach_lerp_(average, own, 1.0 - decay)
            for copied, buffer in zip(self.average.buffers(), self.network.buffers(), strict=True):
                copied.copy_(buffer)

    def save(self, path: Path, history: list[EpochRecord]) -> None:
        """Write everything to a checkpoint."""
        from safetensors.torch import save

        tensors = {f"network/{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"average/{name}": value for name, value in self.average.state_dict().items()}
        tensors |= {f"objective/{name}": value for name, value in self.objective.state_dict().items()}
        for name, parameter in self._trained():
            buffer = self.optimizer.state[parameter].get("momentum_buffer")
            if buffer is not None:
                tensors[f"momentum/{name}"] = buffer
        metadata = {
            "phase": json.dumps(asdict(self.phase)),
            "history": json.dumps([asdict(e) for e in history]),
        }
        with written_whole(path) as temporary:
            # Not `save_file`, whose errors of a full disk are no OSError, and whose files only the owner can read.
            temporary.write_bytes(save({name: value.contiguous() for name, value in tensors.items()}, metadata))

    def restore(self, path: Path) -> list[EpochRecord]:
        """Take everything from a checkpoint, and return what its epochs gave.

        Raises:
            DistillError: It is damaged, or of another phase or network.
        """
        tensors, metadata = self._read(path)
        if metadata.get("phase") != json.dumps(asdict(self.phase)):
            raise self._foreign(path, "one made with other settings")
        try:
            history = [
                EpochRecord(**{**entry, "accuracy": Metric(**entry["accuracy"])})
                for entry in json.loads(metadata["history"])
            ]
            modules = (("network", self.network), ("average", self.average), ("objective", self.objective))
            for kind, module in modules:
                module.load_state_dict(_under(kind, tensors))
        # `load_state_dict` raises RuntimeError for names and shapes that do not fit.
        except (ValueError, KeyError, TypeError, RuntimeError) as error:
            raise self._foreign(path, "one of another network, or a damaged one") from error
        for name, parameter in self._trained():
            if f"momentum/{name}" in tensors:
                self.optimizer.state[parameter]["momentum_buffer"] = tensors[f"momentum/{name}"].to(
                    memory_format=torch.channels_last if parameter.dim() == 4 else torch.preserve_format
                )
        return history

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        yield from self.network.named_parameters()
        yield from self.objective.named_parameters(prefix="objective/")

    def _read(self, path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                metadata: dict[str, str] = file.metadata() or {}
                return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118  (no mapping)
        except (SafetensorError, OSError) as error:
            raise self._foreign(path, str(error)) from error

    @staticmethod
    def _foreign(path: Path, found: str) -> DistillError:
        return DistillError(
            str(path), expected="a checkpoint of this phase", found=found, hint="Use another --run folder."
        )


def _under(kind: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors of one module by the names it has for them."""
    return {n.removeprefix(f"{kind}/"): t for n, t in tensors.items() if n.startswith(f"{kind}/")}
