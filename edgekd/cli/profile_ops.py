"""`edgekd profile ops`: measure a device's operators and keep the table."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekd.cli.options import parse_cores
from edgekd.errors import InputError, TargetError, UnknownNameError
from edgekd.quantities import format_latency_us, format_share, parse_duration_s
from edgekd.report.escape import printable

if TYPE_CHECKING:
    from edgekd.hardware.measured import MeasuredTable
    from edgekd.profiling.connection import Device
    from edgekd.profiling.operators import OperatorSettings
    from edgekd.profiling.place import Place
    from edgekd.profiling.subjects import SubjectSource
    from edgekd.records import Precision, Processor, Target


# A board's server ends the session of a client that is gone after that long.
_SESSION_S = 24 * 3600.0


@click.command(
    "ops",
    epilog="\b\nExample:\n  edgekd profile ops --target rpi4 --on ssh://pi@rpi4.local --for model.pt2 --threads 4",
)
@click.option("--target", "target_name", required=True, help="What the device is: its predictions come from the table.")
@click.option(
    "--on", "place", default="local", show_default=True, help="local, ssh://USER@HOST[:PORT] or rpc://TRACKER:PORT/KEY."
)
@click.option("--boards", default=1, show_default=True, help="Boards of the key that share the work; only for rpc.")
@click.option("--for", "model", type=click.Path(path_type=Path), help="Only operators of this model, at any width.")
@click.option("--arch", help="package.module:factory that builds the network, if the model is a weights file.")
@click.option("--precision", "precisions", multiple=True, help="May be repeated. [those the target ships on its CPU]")
@click.option("--threads", multiple=True, type=int, help="May be repeated. [those of the target]")
@click.option("--networks", type=int, help="Networks to measure at the most. [128, with --for 48]")
@click.option("--checks", type=int, help="Other networks to test the table on. [16]")
@click.option("--until", type=float, help="Enough once the median error on new networks is at most this. [0.03]")
@click.option("--most-macs", default=3e8, show_default=True, help="Multiply-accumulates of the largest network.")
@click.option("--time-budget", metavar="TIME", help="Begin no further network after that long, as 20m.")
@click.option("--pin", metavar="CORES", help="Cores to run on, as 0-3 or 4,5; by default the system chooses.")
@click.option("--device-python", default="python3", show_default=True, help="Python on the board, with onnxruntime.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of tables. [EDGEKD_PROFILES, or the user's data]")
@click.option("--restart", is_flag=True, help="Begin anew, beside what an earlier run measured.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def profile_ops(
    target_name: str,
    place: str,
    boards: int,
    model: Path | None,
    arch: str | None,
    most_macs: float,
    device_python: str,
    out: Path | None,
    restart: bool,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure a device's operators and keep the table, from which networks on it are then predicted.

    Repeat the command to go on after a lost connection. A table replaces the model that comes with EdgeKD.
    """
    from edgekd.hardware.data import users_profiles
    from edgekd.hardware.table_files import write_table
    from edgekd.hardware.target import load_target
    from edgekd.profiling.journal import Journal, set_aside
    from edgekd.profiling.operators import build_table, measure_operators
    from edgekd.profiling.place import parse_place
    from edgekd.progress import Lines, Silent

    target = load_target(target_name)
    where = parse_place(place)
    settings = _settings(target, where, options, is_for_model=model is not None)
    folder = out or users_profiles()
    progress = Silent() if quiet else Lines(sys.stderr)
    with contextlib.ExitStack() as stack:
        devices = _devices(stack, where, target, boards, device_python)
        path = folder / target.name / "operators.jsonl"
        if restart:
            set_aside(path)
        journal = Journal(path, devices[0].fingerprint)
        subjects = _subjects(target, model, arch, most_macs)
        progress.begin("measure")
        measure_operators(devices, subjects, journal, settings, progress.update)
        progress.end(f"{len({entry.network for entry in journal.entries})} networks on {place}")
        progress.begin("fit")
        tables = [build_table(devices[0], journal, target.name, setting, settings) for setting in settings.each]
        progress.end(f"{len(tables)} tables")
    paths = [write_table(table, folder) for table in tables]
    lines = [line for table, path in zip(tables, paths, strict=True) for line in _lines(table, path)]
    click.echo(_document(tables, paths) if as_json else "\n".join(map(printable, lines)))


def _devices(
    stack: contextlib.ExitStack, place: Place, target: Target, boards: int, device_python: str
) -> Sequence[Device]:
    from edgekd.profiling.connection import connect
    from edgekd.profiling.farm import Libraries, open_boards

    if place.kind != "rpc":
        if boards != 1:
            raise InputError(
                "--boards",
                expected=f"1 with --on {place.kind}",
                found=str(boards),
                hint="Several boards share the work behind TVM's tracker only: --on rpc://TRACKER:PORT/KEY.",
            )
        return [stack.enter_context(connect(place, python=device_python))]
    return stack.enter_context(open_boards(place, Libraries(target.name), count=boards, session_s=_SESSION_S))


def _settings(target: Target, place: Place, options: dict[str, Any], *, is_for_model: bool) -> OperatorSettings:
    from edgekd.profiling.operators import OperatorSettings

    shipped = tuple(precision for precision, kind in target.artifacts if kind == "cpu") or ("fp32",)
    if place.kind == "rpc":
        shipped = ("fp32",)
        if "int8" in options["precisions"]:
            raise InputError(
                "--precision",
                expected="fp32 or fp16 with --on rpc",
                found="'int8'",
                hint="TVM computes quantized files in float: measure them in onnxruntime with --on ssh://USER@HOST.",
            )
    given = {name: options[name] for name in ("networks", "checks", "until") if options[name] is not None}
    pin, budget = options["pin"], options["time_budget"]
    settings = OperatorSettings(
        precisions=_precisions(options["precisions"]) or shipped,
        threads=options["threads"] or _cpu(target).thread_counts or (1,),
        pin=None if pin is None else parse_cores(pin),
        time_budget_s=None if budget is None else parse_duration_s(budget, "--time-budget"),
        networks=48 if is_for_model else 128,
    )
    return dataclasses.replace(settings, **given)


def _precisions(names: tuple[str, ...]) -> tuple[Precision, ...]:
    known: dict[str, Precision] = {"fp32": "fp32", "fp16": "fp16", "int8": "int8"}
    for name in names:
        if name not in known:
            raise UnknownNameError("--precision", name, known)
    return tuple(known[name] for name in names)


def _cpu(target: Target) -> Processor:
    """Return the target's CPU: what runs whole on a GPU has no operators that could be timed one by one."""
    for processor in target.processors:
        if processor.kind == "cpu":
            return processor
    raise TargetError(
        f"target '{target.name}'",
        expected="a CPU, whose operators can be measured",
        found="none",
        hint="Measure whole files there: edgekd profile model.",
    )


def _subjects(target: Target, model: Path | None, arch: str | None, most_macs: float) -> SubjectSource:
    from edgekd.profiling.subjects import model_subjects, suite_subject

    if model is None:
        if not 1e6 <= most_macs <= 1e11:
            raise InputError("--most-macs", expected="from 1e6 to 1e11", found=f"{most_macs:g}", hint="Correct it.")
        return functools.partial(suite_subject, most_macs=most_macs)
    from edgekd.models.load import load_model
    from edgekd.store import file_digest

    return model_subjects(load_model(model, arch=arch), file_digest(model), _cpu(target).channel_multiple)


def _document(tables: list[MeasuredTable], paths: list[Path]) -> str:
    found = [
        {
            "path": str(path),
            "precision": table.precision,
            "threads": table.threads,
            "networks": table.networks,
            "rows": len(table.rows),
            "check": dataclasses.asdict(table.check),
            "warnings": list(table.warnings),
        }
        for table, path in zip(tables, paths, strict=True)
    ]
    return json.dumps({"schema_version": 1, "target": tables[0].target, "tables": found}, indent=2, sort_keys=True)


def _lines(table: MeasuredTable, path: Path) -> Iterator[str]:
    check = table.check
    threads = "1 thread" if table.threads == 1 else f"{table.threads} threads"
    found = f"{len(table.rows)} operators of {table.networks} networks"
    yield f"{table.precision}, {threads}: {found} on {table.measured_on}"
    errors = f"median error {format_share(check.median_error)}, {format_share(check.within_15_percent)} within 15 %"
    yield f"  on {len(check.networks)} other networks: {errors}, rank correlation {check.spearman:.3f}"
    worst = max(check.networks, key=lambda network: abs(network.predicted_us / network.measured_us - 1))
    times = f"{format_latency_us(worst.measured_us)}, predicted {format_latency_us(worst.predicted_us)}"
    yield f"  the worst, {worst.name}: {times}"
    yield f"  {path}"
    yield from (f"  warning: {warning}" for warning in table.warnings)
