"""`edgekd targets`: the devices that networks can be compressed for."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

import click

from edgekd.quantities import format_latency_us, format_size
from edgekd.records import Cores, Processor, Source, Target
from edgekd.report.escape import printable

_PRECISIONS = ("fp32", "fp16", "int8")
_UNKNOWN = "not known"


@click.group(epilog="\b\nExample:\n  edgekd targets show jetson-tx2")
def targets() -> None:
    """List the devices to compress for, show one, or check a file that describes one."""


@targets.command("list", epilog="\b\nExample:\n  edgekd targets list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_targets(as_json: bool) -> None:
    """List every target with the artifact to deploy and the number of tables that predict its costs."""
    from edgekd.hardware.target import load_target, profile_count, target_names

    known = [(load_target(name), profile_count(name)) for name in target_names()]
    if as_json:
        entries = [
            {"name": target.name, "title": target.title, "deploys": list(target.artifacts[0]), "profiles": profiles}
            for target, profiles in known
        ]
        click.echo(json.dumps(entries, indent=2))
        return
    rows = [(target.name, target.title, _artifact(*target.artifacts[0]), _tables(count)) for target, count in known]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(4)]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        click.echo(printable("  ".join(cells).rstrip()))


@targets.command("show", epilog="\b\nExample:\n  edgekd targets show jetson-tx2")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def show_target(name: str, as_json: bool) -> None:
    """Show what one target can do, what is not known, and where its description comes from."""
    from edgekd.hardware.target import load_target, profile_count

    target = load_target(name)
    profiles = profile_count(target.name)
    if as_json:
        click.echo(json.dumps({**dataclasses.asdict(target), "profiles": profiles}, indent=2))
    else:
        click.echo("\n".join(printable(line) for line in _target_lines(target, profiles)))


@targets.command("validate", epilog="\b\nExample:\n  edgekd targets validate my-board.toml")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def validate_targets(files: tuple[Path, ...], as_json: bool) -> None:
    """Check target files of your own: keys, units, artifacts, and a source for every fact."""
    from edgekd.hardware.target import read_target

    read = [(path, read_target(path)) for path in files]
    if as_json:
        entries = [{"file": str(path), "name": target.name, "title": target.title} for path, target in read]
        click.echo(json.dumps(entries, indent=2))
        return
    for path, target in read:
        click.echo(printable(f"{path}: a valid target, {target.title}"))


def _target_lines(target: Target, profiles: int) -> Iterable[str]:
    yield f"{target.name}: {target.title}"
    yield f"memory: {_UNKNOWN if target.memory_bytes is None else format_size(target.memory_bytes)}"
    yield f"artifacts: {', '.join(_artifact(*shipped) for shipped in target.artifacts)}"
    yield f"widths in steps of: {target.channel_multiple}"
    yield f"predictions from: {_tables(profiles)}"
    for processor in target.processors:
        yield from _processor_lines(processor)
    yield from (f"note: {note}" for note in target.notes)
    yield from (_source(source) for source in target.sources)


def _processor_lines(processor: Processor) -> Iterable[str]:
    neither = [each for each in _PRECISIONS if each not in (*processor.fast, *processor.runs)]
    yield f"{processor.kind}: {processor.title}"
    yield f"  cores: {', '.join(_cores(cores) for cores in processor.cores)}"
    if processor.compute_capability is not None:
        yield f"  compute capability: {processor.compute_capability}"
    yield f"  runtime: {_first_and_others(processor.runtimes)}"
    yield f"  gains from: {', '.join(processor.fast) or 'none'}"
    yield f"  executes: {', '.join(processor.runs) or 'none'}"
    yield f"  does not run: {', '.join(neither) or 'none'}"
    yield f"  channels in steps of: {processor.channel_multiple}"
    if processor.thread_counts:
        yield f"  threads: {_first_and_others([str(count) for count in processor.thread_counts])}"
    floor = processor.launch_floor_us
    yield f"  least time of an operator: {_UNKNOWN if floor is None else format_latency_us(floor)}"
    described = dict(processor.tvm_target)
    yield f"  TVM target: {json.dumps(described) if described else 'none'}"
    if processor.cross_compiler is not None:
        yield f"  cross compiler: {processor.cross_compiler}"


def _artifact(precision: str, processor: str) -> str:
    return f"{precision} for the {processor}"


def _tables(profiles: int) -> str:
    return {0: "no table", 1: "1 table"}.get(profiles, f"{profiles} tables")


def _cores(cores: Cores) -> str:
    isa = f" ({' '.join(cores.isa)})" if cores.isa else ""
    return f"{cores.count} x {cores.name}{isa}" if cores.count is not None else f"{cores.name}, any number{isa}"


def _first_and_others(items: Iterable[str]) -> str:
    first, *others = items
    return f"{first} (also {', '.join(others)})" if others else first


def _source(source: Source) -> str:
    note = f" ({source.note})" if source.note else ""
    return f"source of {', '.join(source.facts)}: {source.cite}, {source.url}{note}"
