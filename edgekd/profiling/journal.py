"""What was measured so far, on disk as it comes in: one JSON line a network and round, kept over lost connections."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.errors import InputError, OutputError
from edgekd.hardware.operators import Operators
from edgekd.profiling.attribution import QUANTILES, Shares
from edgekd.records import Precision
from edgekd.store import write_text

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a table is of: a precision and a number of threads."""

    precision: Precision
    threads: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """One round of one network.

    Attributes:
        network: Its name.
        is_check: Whether it is kept apart, to test the table on.
        setting: Precision and threads.
        runtime: What ran it, with its version.
        latency_us: The median of the whole network, without the profile.
        is_stable: Whether it settled.
        operators: One plan.
        shares: Of the operators, with the runtime's profile on; without nodes where the runtime has no profile.
        governors: Of the device's clocks, each once; none where they cannot be read.
        warnings: Of the device.
    """

    network: str
    is_check: bool
    setting: Setting
    runtime: str
    latency_us: float
    is_stable: bool
    operators: Operators
    shares: Shares
    governors: tuple[str, ...]
    warnings: tuple[str, ...]


class Journal:
    """The entries of one device.

    Args:
        path: The file; it need not exist.
        device: What identifies the device and its software.

    Raises:
        InputError: The file holds measurements of another device or of other software on it.
    """

    def __init__(self, path: Path, device: Mapping[str, Any]) -> None:
        self.path = path
        self._lock = threading.Lock()
        self.entries: list[Entry] = []
        header = {"schema_version": SCHEMA_VERSION, "device": json.loads(json.dumps(device))}
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(header) + "\n")
            return
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        _require_same(path, _parsed(lines[0]) if lines else None, header)
        whole = [lines[0]]
        for line in lines[1:]:
            entry = _parsed(line)
            if entry is not None:  # else the process was killed while it wrote the line
                self.entries.append(_decode(entry))
                whole.append(line)
        if len(whole) < len(lines):
            write_text(path, "\n".join(whole) + "\n")

    def rounds(self, network: str, setting: Setting) -> list[Entry]:
        """Return what is known of a network, the fastest round first."""
        found = [entry for entry in tuple(self.entries) if (entry.network, entry.setting) == (network, setting)]
        return sorted(found, key=lambda entry: entry.latency_us)

    def best(self, setting: Setting, *, is_check: bool) -> list[Entry]:
        """Return the fastest round of every network: whatever else runs on a device only adds to its times."""
        fastest: dict[str, Entry] = {}
        for entry in self.entries:
            if entry.setting == setting and entry.is_check == is_check:
                known = fastest.get(entry.network)
                if known is None or entry.latency_us < known.latency_us:
                    fastest[entry.network] = entry
        return list(fastest.values())

    def add(self, entry: Entry) -> None:
        """Keep an entry, on disk before anything else is measured; from any thread."""
        try:
            with self._lock, self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(_encode(entry)) + "\n")
        except OSError as error:
            raise OutputError(
                str(self.path), expected="room to write", found=str(error.strerror), hint="Free some space."
            ) from error
        self.entries.append(entry)


def set_aside(path: Path) -> None:
    """Give a journal, if there is one, another name beside its own, so that a new one can begin."""
    if path.exists():
        number = 1 + sum(1 for _ in path.parent.glob(f"{path.stem}.*{path.suffix}"))
        path.replace(path.with_name(f"{path.stem}.{number}{path.suffix}"))


def _require_same(path: Path, found: dict[str, Any] | None, expected: dict[str, Any]) -> None:
    if found == expected:
        return
    device = (found or {}).get("device") or {}
    differing = [f"{key} {device.get(key)!r}" for key, value in expected["device"].items() if device.get(key) != value]
    raise InputError(
        str(path),
        expected="measurements of this device and its software",
        found="; ".join(differing) or "another kind of file",
        hint="Begin anew with --restart, which keeps the old file beside the new one, or choose another --out.",
    )


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        content = json.loads(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _encode(entry: Entry) -> dict[str, Any]:
    operators, shares = entry.operators, entry.shares
    return {
        "network": entry.network,
        "is_check": entry.is_check,
        "precision": entry.setting.precision,
        "threads": entry.setting.threads,
        "runtime": entry.runtime,
        "latency_us": entry.latency_us,
        "is_stable": entry.is_stable,
        "governors": list(entry.governors),
        "warnings": list(entry.warnings),
        "op": list(operators.op),
        "variant": list(operators.variant),
        **{name: values.tolist() for name, values in operators.columns().items()},
        "nodes": shares.nodes.tolist(),
        **{quantile: shares.times_us[row].tolist() for row, quantile in enumerate(QUANTILES)},
    }


def _decode(content: dict[str, Any]) -> Entry:
    return Entry(
        network=content["network"],
        is_check=content["is_check"],
        setting=Setting(precision=content["precision"], threads=content["threads"]),
        runtime=content["runtime"],
        latency_us=content["latency_us"],
        is_stable=content["is_stable"],
        operators=Operators.from_columns(content["op"], content["variant"], content),
        shares=Shares(
            times_us=np.array([content[quantile] for quantile in QUANTILES]),
            nodes=np.array(content["nodes"], dtype=np.int64),
        ),
        governors=tuple(content["governors"]),
        warnings=tuple(content["warnings"]),
    )
