"""Find the weights in what a training loop saved: wrapped, prefixed, averaged.

Read are the habits of PyTorch examples, Lightning, timm, torchvision's references and torch.compile. What was chosen
is said in remarks, and `--checkpoint-key` chooses something else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from edgekd.errors import ModelError, UnknownNameError
from edgekd.records import Finding

# In the order in which they are taken. Averaged weights come first: they are what timm and torchvision's references
# evaluate and publish where a run keeps them.
_AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema", "model_ema_state_dict", "ema_model")
_PLAIN = ("state_dict", "model_state_dict", "model", "net", "network", "model_state", "weights", "params", "module")
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.")
# What `torch.optim.swa_utils.AveragedModel` counts with, beside its `module.`.
_COUNTERS = frozenset(("n_averaged",))

StateDict = dict[str, torch.Tensor]


def find_weights(path: Path, content: Any, key: str | None) -> tuple[StateDict, tuple[Finding, ...]]:
    """Return the state dict in what was saved, and remarks on which it is.

    Args:
        path: The file, for messages.
        content: What the file holds.
        key: The entry to take, as the user names it; `None` takes averaged weights before plain ones.

    Raises:
        ModelError: There are no weights in it.
        UnknownNameError: There is no such entry.
    """
    entries = _entries(content)
    if key is not None:
        if key not in entries:
            raise UnknownNameError(f"--checkpoint-key, entries of {path} that hold weights", key, entries)
        return entries[key], ()
    own = _state_dict(content)
    if own is not None:
        return own, ()
    chosen = next((name for name in (*_AVERAGED, *_PLAIN) if name in entries), None)
    if chosen is None and len(entries) == 1:
        chosen = next(iter(entries))
    if chosen is None:
        raise _no_weights(path, content, entries)
    return entries[chosen], (_choice_remark(path, chosen, [name for name in entries if name != chosen]),)


def strip_prefixes(path: Path, state: StateDict, wanted: Iterable[str]) -> tuple[StateDict, tuple[Finding, ...]]:
    """Return the weights under the names that the network has, if a wrapper put the same words before all of them."""
    wanted = set(wanted)
    names = [name for name in state if name not in _COUNTERS or name in wanted]
    stripped = ""
    while names and not wanted & {name.removeprefix(stripped) for name in names}:
        rest = [name.removeprefix(stripped) for name in names]
        prefix = next((p for p in _PREFIXES if all(name.startswith(p) for name in rest)), None)
        if prefix is None:
            return state, ()
        stripped += prefix
    if not stripped:
        return state, ()
    message = f"the prefix '{stripped}' was taken off the names of its weights"
    remark = Finding(level="note", code="prefix-stripped", subject=str(path), message=message)
    return {name.removeprefix(stripped): state[name] for name in names}, (remark,)


def _state_dict(value: Any) -> StateDict | None:
    """Return a mapping of names to tensors, or `None` if it is something else."""
    if not isinstance(value, Mapping) or not value:
        return None
    state = {name: tensor for name, tensor in value.items() if name != "_metadata"}
    if not all(isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in state.items()):
        return None
    return state


def _entries(content: Any) -> dict[str, StateDict]:
    """Return the entries that are state dicts, those one level down under `outer.inner`."""
    if not isinstance(content, Mapping):
        return {}
    found: dict[str, StateDict] = {}
    for name, value in content.items():
        # An optimizer's state is keyed by numbers; a scheduler's holds no tensors.
        state = _state_dict(value)
        if state is not None:
            found[str(name)] = state
        elif isinstance(value, Mapping) and name not in ("optimizer", "lr_scheduler", "scaler"):
            inner = {f"{name}.{other}": _state_dict(part) for other, part in value.items()}
            found |= {full: part for full, part in inner.items() if part is not None}
    return found


def _choice_remark(path: Path, chosen: str, others: list[str]) -> Finding:
    kind = "averaged (EMA) weights" if chosen in _AVERAGED else "weights"
    hint = f"Take others with --checkpoint-key: {', '.join(others[:6])}." if others else None
    message = f"its {kind} '{chosen}' were taken, of a checkpoint that holds more"
    return Finding(level="note", code="checkpoint-entry", subject=str(path), message=message, hint=hint)


def _no_weights(path: Path, content: Any, entries: Mapping[str, StateDict]) -> ModelError:
    found = f"a {type(content).__name__}"
    if isinstance(content, Mapping) and content:
        found += f" of {', '.join(repr(name) for name in list(content)[:6])}"
    hint = "Save model.state_dict() alone."
    if entries:
        hint = f"Choose one with --checkpoint-key: {', '.join(list(entries)[:6])}."
    return ModelError(str(path), expected="a state dict: names and tensors", found=found, hint=hint)
