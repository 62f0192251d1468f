"""`edgekd profile`: measure on the device itself."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

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
    """Measure latency, memory and energy on a device: this one, or one that ssh reaches."""


@profile.command(
    "model", epilog="\b\nExample:\n  edgekd profile model model.int8.onnx --on ssh://pi@rpi4.local --threads 4"
)
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--on", "place", default="local", show_default=True, help="local, or ssh://USER@HOST[:PORT].")
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
def profile_model(artifact: Path, place: str, out: Path | None, as_json: bool, **options: object) -> None:
    """Measure an artifact and compare it with what its run predicted."""
    from edgekd.profiling.connection import connect, parse_place
    from edgekd.profiling.model import Settings, measure_model

    sensor = options["sensor"]
    settings = Settings(
        threads=int(str(options["threads"])),
        pin=_cores(options["pin"]),
        provider=_provider(str(options["provider"])),
        max_s=float(str(options["seconds"])),
        tolerance=float(str(options["tolerance"])),
        energy_s=float(str(options["energy_seconds"])),
        idle_s=float(str(options["idle_seconds"])),
    )
    with connect(parse_place(place), python=str(options["device_python"])) as device:
        if sensor is not None:
            settings = dataclasses.replace(settings, sensor=_sensor(str(sensor), device.sensors))
        found = measure_model(device, artifact, settings)
        sensors = tuple(device.sensors)
    document = json.dumps({"schema_version": 1, **dataclasses.asdict(found)}, indent=2, sort_keys=True)
    if out is not None:
        write_text(out, document + "\n")
    click.echo(document if as_json else "\n".join(map(printable, _lines(found, sensors))))


def _cores(text: object) -> tuple[int, ...] | None:
    if text is None:
        return None
    cores: list[int] = []
    try:
        for part in str(text).split(","):
            first, _, last = part.partition("-")
            cores += range(int(first), int(last or first) + 1)
    except ValueError:
        cores = []
    if not cores:
        raise InputError("--pin", expected="cores, as 0-3 or 4,5", found=f"'{text}'", hint="Correct the option.")
    return tuple(cores)


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
    yield f"{found.path} on {found.place}: {device['board'] or device['machine']}, {cores}"
    settings = f"{found.settings.provider}, {found.settings.threads} threads"
    yield f"  runtime    onnxruntime {device['onnxruntime']}, {settings}"
    spread = f"p90 {format_latency_us(latency.p90_us)}, p99 {format_latency_us(latency.p99_us)}"
    yield f"  latency    {format_latency_us(latency.p50_us)} median, {spread}, {latency.runs} runs"
    yield from _compared(found.predicted_latency_us, latency.p50_us, format_latency_us, found.predicted_for)
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
