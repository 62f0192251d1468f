"""`edgekd profile`: measure on the device itself."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import click

from edgekd.cli.options import parse_cores
from edgekd.cli.profile_ops import profile_ops
from edgekd.errors import InputError, UnknownNameError
from edgekd.quantities import format_energy_uj, format_latency_us, format_share, format_size
from edgekd.report.escape import printable
from edgekd.store import write_text

if TYPE_CHECKING:
    from edgekd.profiling.model import Measurement
    from edgekd.records import Prediction

_SHOWN_OPERATORS = 10


@click.group(epilog="\b\nExample:\n  edgekd profile model model.int8.onnx --on ssh://pi@rpi4.local")
def profile() -> None:
    """Measure latency, memory and energy on a device: this one, one that ssh reaches, or boards of a farm."""


@profile.command(
    "model", epilog="\b\nExample:\n  edgekd profile model model.int8.onnx --on ssh://pi@rpi4.local --threads 4"
)
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option(
    "--on", "place", default="local", show_default=True, help="local, ssh://USER@HOST[:PORT] or rpc://TRACKER:PORT/KEY."
)
@click.option("--target", metavar="NAME", help="With rpc: what to compile for. [that of the artifact's card]")
@click.option("--boards", type=click.IntRange(min=1), help="With rpc: measure on so many at the same time. [1]")
@click.option("--threads", default=1, show_default=True, help="Threads of the runtime.")
@click.option("--pin", metavar="CORES", help="Cores to run on, as 0-3 or 4,5; by default the system chooses.")
@click.option("--provider", default="cpu", show_default=True, help="cpu, cuda or tensorrt.")
@click.option("--seconds", default=20.0, show_default=True, help="Longest time for counted runs.")
@click.option("--tolerance", default=0.02, show_default=True, help="How well the median must settle to stop earlier.")
@click.option(
    "--energy", "sensor", metavar="SENSOR", help="first, a sensor's name, or command:PROGRAM: measure energy."
)
@click.option("--energy-seconds", default=10.0, show_default=True, help="How long the model runs for its energy.")
@click.option("--idle-seconds", default=0.0, show_default=True, help="Measure idle power that long before.")
@click.option("--device-python", default="python3", show_default=True, help="Python on the board, with onnxruntime.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write the measurement here, as JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def profile_model(
    artifact: Path,
    place: str,
    target: str | None,
    boards: int | None,
    threads: int,
    pin: str | None,
    provider: str,
    seconds: float,
    tolerance: float,
    sensor: str | None,
    energy_seconds: float,
    idle_seconds: float,
    device_python: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure an artifact and compare it with what its run predicted."""
    from edgekd.profiling.connection import connect
    from edgekd.profiling.farm import measure_on_boards
    from edgekd.profiling.model import Settings, measure_model
    from edgekd.profiling.place import parse_place

    settings = Settings(
        threads=threads,
        pin=None if pin is None else parse_cores(pin),
        provider=_provider(provider),
        max_s=seconds,
        tolerance=tolerance,
        energy_s=energy_seconds,
        idle_s=idle_seconds,
    )
    where = parse_place(place)
    _refuse_for(where.kind, {"--target": target, "--boards": boards}, {"--energy": sensor})
    sensors: tuple[str, ...] = ()
    if where.kind == "rpc":
        found = measure_on_boards(where, artifact, settings, target=target, count=boards or 1)
    else:
        with connect(where, python=device_python) as device:
            if sensor is not None:
                settings = dataclasses.replace(settings, sensor=_sensor(sensor, device.sensors))
            found = (measure_model(device, artifact, settings),)
            sensors = tuple(device.sensors)
    document = json.dumps({"schema_version": 1, **_fields(found)}, indent=2, sort_keys=True)
    if out is not None:
        write_text(out, document + "\n")
    lines = [line for each in found for line in _lines(each, sensors)] + list(_spread(found))
    click.echo(document if as_json else "\n".join(map(printable, lines)))


def _refuse_for(kind: str, of_rpc: dict[str, object], of_others: dict[str, object]) -> None:
    """Refuse options that the kind of place does not have."""
    for name, value in (of_others if kind == "rpc" else of_rpc).items():
        if value is not None:
            raise InputError(
                name,
                expected=f"no such option with --on {kind}",
                found=f"'{value}'",
                hint="TVM's RPC reads no energy sensor: measure energy over ssh."
                if kind == "rpc"
                else "It is for boards behind TVM's tracker: --on rpc://TRACKER:PORT/KEY.",
            )


def _fields(found: tuple[Measurement, ...]) -> dict[str, object]:
    """Return the measurement as a document, or those of several boards as a list with their spread."""
    if len(found) == 1:
        return dataclasses.asdict(found[0])
    medians = [each.latency.p50_us for each in found]
    spread = {"lowest_p50_us": min(medians), "middle_p50_us": median(medians), "highest_p50_us": max(medians)}
    return {"boards": [dataclasses.asdict(each) for each in found], "spread": spread}


def _spread(found: tuple[Measurement, ...]) -> Iterator[str]:
    if len(found) > 1:
        medians = [each.latency.p50_us for each in found]
        ends = f"{format_latency_us(min(medians))} to {format_latency_us(max(medians))}"
        share = format_share((max(medians) - min(medians)) / median(medians))
        yield f"{len(found)} boards: medians from {ends}, {share} of the middle one apart"


profile.add_command(profile_ops)


def _provider(name: str) -> str:
    from edgekd.profiling.model import PROVIDERS

    if name not in PROVIDERS:
        raise UnknownNameError("--provider", name, PROVIDERS)
    return name


def _sensor(name: str, known: dict[str, str]) -> str:
    if name == "first" and known:
        return next(iter(known))
    if name in known or name.startswith("command:"):
        return name
    if known:
        raise UnknownNameError("--energy", name, ["first", *known, "command:PROGRAM"])
    raise InputError(
        "--energy",
        expected="command:PROGRAM, which prints watts",
        found=f"'{name}'",
        hint="This device has no sensor that can be read; a USB meter can be one.",
    )


def _lines(found: Measurement, sensors: tuple[str, ...]) -> Iterator[str]:
    device, latency = found.device, found.latency
    cores = f"{len(device['cores'])} cores" if device["cores"] else "cores not known"
    yield f"{found.path} on {found.place}: {device['board'] or device['machine'] or 'board not known'}, {cores}"
    settings = f"{found.settings.provider}, {found.settings.threads} threads"
    yield f"  runtime    {found.runtime}, {settings}"
    spread = f"p90 {format_latency_us(latency.p90_us)}, p99 {format_latency_us(latency.p99_us)}"
    yield f"  latency    {format_latency_us(latency.p50_us)} median, {spread}, {latency.runs} runs"
    yield from _compared(found.predicted_latency_us, latency.p50_us, format_latency_us, found.predicted_for)
    if found.peak_bytes is None:
        yield "  memory     not measured"
    else:
        yield f"  memory     {format_size(found.peak_bytes)} more than before the model was opened, at the peak"
    if found.energy is None:
        yield f"  energy     not measured (sensors: {', '.join(sensors) or 'none'})"
    else:
        energy = found.energy
        idle = "" if energy.idle_w is None else f", idle {energy.idle_w:.3g} W"
        yield f"  energy     {format_energy_uj(energy.per_inference_uj)} an inference at {energy.mean_w:.3g} W{idle}"
        yield f"             {energy.includes}; {energy.samples} samples, {energy.samples_per_second:.0f} a second"
        yield from _compared(found.predicted_energy_uj, energy.per_inference_uj, format_energy_uj, found.predicted_for)
    total = sum(operator.p50_us for operator in found.operators)
    for operator in sorted(found.operators, key=lambda entry: -entry.p50_us)[:_SHOWN_OPERATORS]:
        share = format_share(operator.p50_us / total) if total else "-"
        yield f"  {share:>8}   {format_latency_us(operator.p50_us):>9}  {operator.operator}  {operator.name}"
    yield from (f"  warning: {warning}" for warning in found.warnings)


def _compared(
    prediction: Prediction | None, measured: float, show: Callable[[float], str], target: str
) -> Iterator[str]:
    """Set the prediction beside the measurement; whether this device is the target only the user knows."""
    if prediction is None:
        return
    interval = f"{show(prediction.low)} to {show(prediction.high)}"
    inside = "inside" if prediction.low <= measured <= prediction.high else "outside"
    ratio = f"{measured / prediction.value:.2f} of it, {inside}"
    yield f"             predicted for {target}: {show(prediction.value)} ({interval}); measured here is {ratio}"
    yield f"             {prediction.source}"
