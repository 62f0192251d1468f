"""Measure a device's operators: networks one after the other, in rounds, until they agree; then the table."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

from edgekd.errors import DeviceError, InputError
from edgekd.hardware.measured import MeasuredTable
from edgekd.profiling.attribution import attribute
from edgekd.profiling.connection import Device
from edgekd.profiling.devices import on_all
from edgekd.profiling.fit import fit_kinds
from edgekd.profiling.journal import Entry, Journal, Setting
from edgekd.profiling.model import PROVIDERS_OF, runtime_of
from edgekd.profiling.subjects import Subject, SubjectSource
from edgekd.profiling.table import fit_table, median_error, operator_rows
from edgekd.records import Precision

# Numbers of networks that are kept apart, beyond any that rows come from.
_FIRST_CHECK = 1_000_000
_BATCH = 8
_LEAST_NETWORKS = 3 * _BATCH
LEAST_CHECKS = 8
# So many numbers are looked at for each network that is asked for.
_DRAWS = 4
_LIMIT_S = 180.0
# Two rounds of a network that agree so well are enough.
_AGREEING = 0.04
_MOST_ROUNDS = 5

OnProgress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorSettings:
    """What to measure, and for how long.

    Attributes:
        precisions: Of the networks.
        threads: Of the runtime; each precision is measured with each number.
        networks: That rows come from, at the most.
        checks: Networks apart from these that the table is tested on, at least `LEAST_CHECKS`.
        until: No more networks once the median error on a batch of new ones is below this share.
        pin: Cores the process may use; `None` leaves it to the system.
        warmup_s: Runs before anything is counted.
        max_s: Time for counted runs of a network and round.
        time_budget_s: After that no network is begun; `None` for as long as it takes.
    """

    precisions: tuple[Precision, ...] = ("fp32", "int8")
    threads: tuple[int, ...] = (1,)
    networks: int = 128
    checks: int = 16
    until: float = 0.03
    pin: tuple[int, ...] | None = None
    warmup_s: float = 0.15
    max_s: float = 0.5
    time_budget_s: float | None = None

    def __post_init__(self) -> None:
        limits = {
            "--networks": (self.networks, self.networks >= _LEAST_NETWORKS, f"at least {_LEAST_NETWORKS}"),
            "--checks": (self.checks, self.checks >= LEAST_CHECKS, f"at least {LEAST_CHECKS}"),
            "--threads": (min(self.threads, default=0), min(self.threads, default=0) >= 1, "at least 1"),
            "--until": (self.until, 0 <= self.until < 1, "a share from 0 to 1"),
        }
        for where, (found, holds, expected) in limits.items():
            if not holds:
                raise InputError(where, expected=expected, found=str(found), hint="Correct the option.")

    @property
    def each(self) -> tuple[Setting, ...]:
        """Every precision with every number of threads."""
        return tuple(Setting(precision=p, threads=t) for p in self.precisions for t in self.threads)


def measure_operators(
    devices: Sequence[Device],
    subjects: SubjectSource,
    journal: Journal,
    settings: OperatorSettings,
    on_progress: OnProgress,
) -> None:
    """Measure networks into the journal: those to test the table on first, then the others batch by batch.

    What the journal holds is not measured again. Several devices, which must be alike, share the networks.

    Raises:
        InputError: There are too few different networks.
        DeviceError: The device cannot run a network.
        ConnectionLostError: The device is gone; what was measured is in the journal.
    """
    end = None if settings.time_budget_s is None else time.monotonic() + settings.time_budget_s
    checks, networks = _different(subjects, settings)
    total = len(checks) + len(networks)
    for begun, numbers in _batches(checks, 0):
        measure_shared(devices, [subjects(n) for n in numbers], journal, settings, is_check=True)
        on_progress(begun, total, "networks to test on")
    for begun, numbers in _batches(networks, len(checks)):
        if end is not None and time.monotonic() > end and begun - len(checks) > _LEAST_NETWORKS:
            return
        batch = [subjects(n) for n in numbers]
        measure_shared(devices, batch, journal, settings, is_check=False)
        error = _error_of_new(journal, settings, {subject.name for subject in batch})
        on_progress(begun, total, "" if error is None else f"median error of the last {len(batch)} {error:.1%}")
        if error is not None and error <= settings.until:
            return


def measure_shared(
    devices: Sequence[Device], batch: Sequence[Subject], journal: Journal, settings: OperatorSettings, *, is_check: bool
) -> None:
    """Measure a batch on several devices at once, each network on one of them; see `measure_batch`."""
    parts = {id(device): batch[number :: len(devices)] for number, device in enumerate(devices)}
    on_all(devices, lambda device: measure_batch(device, parts[id(device)], journal, settings, is_check=is_check))


def measure_batch(
    device: Device, batch: Sequence[Subject], journal: Journal, settings: OperatorSettings, *, is_check: bool
) -> None:
    """Measure every network of a batch, in rounds with the others between them, so that a disturbance ends meanwhile.

    Args:
        device: Where.
        batch: The networks.
        journal: What is there is not measured again.
        settings: Precisions, threads and times.
        is_check: Whether tables are to be tested on them.
    """
    for done in range(_MOST_ROUNDS):
        for subject, precision in product(batch, settings.precisions):
            open_settings = [
                Setting(precision=precision, threads=threads)
                for threads in settings.threads
                if not _is_settled(journal, subject, Setting(precision=precision, threads=threads), done)
            ]
            if open_settings:
                digest = _send(device, subject, precision)
                for setting in open_settings:
                    journal.add(_measure(device, digest, subject, setting, settings, is_check=is_check))


def _different(subjects: SubjectSource, settings: OperatorSettings) -> tuple[list[int], list[int]]:
    """Return the numbers of different networks, first those to test on; a small model has few plans."""
    seen: set[str] = set()
    found: list[list[int]] = []
    for first, count in ((_FIRST_CHECK, settings.checks), (0, settings.networks)):
        chosen: list[int] = []
        for number in range(first, first + _DRAWS * count):
            name = subjects(number).name
            if name not in seen and len(chosen) < count:
                chosen.append(number)
                seen.add(name)
        found.append(chosen)
    checks, networks = found
    if len(checks) < LEAST_CHECKS or len(networks) < _LEAST_NETWORKS:
        raise InputError(
            "--for",
            expected=f"a model of at least {LEAST_CHECKS + _LEAST_NETWORKS} different plans",
            found=str(len(seen)),
            hint="Leave --for out: a table of all kinds of networks covers so small a model, too.",
        )
    return checks, networks


def _batches(numbers: Sequence[int], done: int) -> Iterator[tuple[int, Sequence[int]]]:
    """Return batches with how many networks are done after each."""
    for first in range(0, len(numbers), _BATCH):
        batch = numbers[first : first + _BATCH]
        yield done + first + len(batch), batch


def build_table(
    device: Device, journal: Journal, target: str, setting: Setting, settings: OperatorSettings
) -> MeasuredTable:
    """Return the table of one setting from everything in the journal."""
    entries, unseen = journal.best(setting, is_check=False), journal.best(setting, is_check=True)
    fitted = fit_table(entries, unseen)
    fingerprint = device.fingerprint
    doubts = sorted({warning for entry in (*entries, *unseen) for warning in entry.warnings})
    unsettled = sum(not entry.is_stable for entry in (*entries, *unseen))
    if unsettled:
        doubts.append(f"the median of {unsettled} of {len(entries) + len(unseen)} networks did not settle")
    return MeasuredTable(
        target=target,
        processor="cpu",
        precision=setting.precision,
        runtime="tvm" if entries[0].runtime.startswith("TVM") else "onnxruntime",
        runtime_version=entries[0].runtime,
        threads=setting.threads,
        measured_on=_in_words(fingerprint),
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        device={name: str(value) for name, value in sorted(fingerprint.items())},
        settings={
            "governors": ", ".join(sorted({name for entry in entries for name in entry.governors})) or "not known",
            "pin": "not pinned" if settings.pin is None else ",".join(map(str, settings.pin)),
            "warmup_s": f"{settings.warmup_s:g}",
            "max_s": f"{settings.max_s:g}",
            "rounds": f"2 to {_MOST_ROUNDS}, the fastest counts",
        },
        networks=len(entries),
        overhead_us=fitted.overhead_us,
        rows=fitted.rows,
        kinds=fitted.kinds,
        coverage=fitted.coverage,
        check=fitted.check,
        warnings=tuple(doubts),
    )


def _send(device: Device, subject: Subject, precision: Precision) -> str:
    with tempfile.TemporaryDirectory(prefix="edgekd-") as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(subject.onnx(precision))
        return device.send_file(path)


def _is_settled(journal: Journal, subject: Subject, setting: Setting, done: int) -> bool:
    found = journal.rounds(subject.name, setting)
    if len(found) > done:
        return True  # measured by a run before this one
    return len(found) > 1 and found[1].latency_us <= (1 + _AGREEING) * found[0].latency_us


def _measure(
    device: Device, digest: str, subject: Subject, setting: Setting, settings: OperatorSettings, *, is_check: bool
) -> Entry:
    asked: dict[str, Any] = {
        "digest": digest,
        "threads": setting.threads,
        "pin": None if settings.pin is None else list(settings.pin),
        "providers": list(PROVIDERS_OF["cpu"]),
        "warmup_s": settings.warmup_s,
        "min_runs": 30,
        "max_runs": 3000,
        "max_s": settings.max_s,
        "tolerance": 0.02,
        "limit_s": _LIMIT_S,
    }
    whole = device.request("measure", timeout_s=_LIMIT_S + 30.0, **asked)
    parts = device.request("measure", timeout_s=_LIMIT_S + 30.0, **asked | {"max_runs": 100}, operators=True)
    shares = attribute(parts["operators"], subject.owners(), subject.operators.names)
    if parts["operators"] and not shares.nodes.any():
        raise DeviceError(
            device.name,
            expected="a profile of the runtime that names operators",
            found="none of the network's among those that ran",
            hint="Use another version of onnxruntime there.",
        )
    return Entry(
        network=subject.name,
        is_check=is_check,
        setting=setting,
        runtime=runtime_of(device, whole),
        latency_us=whole["p50_us"],
        is_stable=whole["stable"],
        operators=subject.operators,
        shares=shares,
        governors=tuple(sorted({governor for governor in whole["before"]["governors"] if governor})),
        warnings=tuple(whole["warnings"]),
    )


def _error_of_new(journal: Journal, settings: OperatorSettings, names: set[str]) -> float | None:
    """Return the median error, over settings, on the networks of a batch of a table of those before it."""
    errors = []
    for setting in settings.each:
        entries = journal.best(setting, is_check=False)
        old = [entry for entry in entries if entry.network not in names]
        new = [entry for entry in entries if entry.network in names]
        if len(old) < _LEAST_NETWORKS or not new:
            return None
        errors.append(median_error(new, fit_kinds(*operator_rows(old))))
    return statistics.median(errors)


def _in_words(fingerprint: dict[str, Any]) -> str:
    """Return the device as `board, 4 cores`, or the names of its cores where the board has none."""
    cores = fingerprint["cores"] or []
    name = fingerprint["board"] or ", ".join(sorted(set(cores))) or fingerprint["machine"]
    return f"{name}, {len(cores)} cores" if cores else str(name)
