"""`edgekd targets`: the devices that networks can be compressed for."""

from __future__ import annotations

import dataclasses
import json

import click

from edgekd.quantities import format_size
from edgekd.records import Processor, Target
from edgekd.report.escape import printable


@click.group(epilog="\b\nExample:\n  edgekd targets show jetson-tx2")
def targets() -> None:
    """List the devices to compress for, or show one."""


@targets.command("list", epilog="\b\nExample:\n  edgekd targets list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_targets(as_json: bool) -> None:
    """List the name and title of every target."""
    from edgekd.hardware.target import load_target, target_names

    known = [load_target(name) for name in target_names()]
    if as_json:
        entries = [{"name": target.name, "title": target.title} for target in known]
        click.echo(json.dumps(entries, indent=2))
        return
    width = max((len(target.name) for target in known), default=0)
    for target in known:
        click.echo(printable(f"{target.name:<{width}}  {target.title}"))


@targets.command("show", epilog="\b\nExample:\n  edgekd targets show jetson-tx2")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def show_target(name: str, as_json: bool) -> None:
    """Show what one target can do, and where its description comes from."""
    from edgekd.hardware.target import load_target

    target = load_target(name)
    click.echo(json.dumps(dataclasses.asdict(target), indent=2) if as_json else _to_text(target))


def _to_text(target: Target) -> str:
    shipped = ", ".join(f"{precision} for the {processor}" for precision, processor in target.artifacts)
    lines = [
        f"{target.name}: {target.title}",
        f"memory: {format_size(target.memory_bytes)}",
        f"artifacts: {shipped}",
        f"widths in steps of: {target.channel_multiple}",
    ]
    for processor in target.processors:
        lines += _processor_lines(processor)
    lines += [f"note: {note}" for note in target.notes]
    lines += [f"source: {source}" for source in target.sources]
    return "\n".join(printable(line) for line in lines)


def _processor_lines(processor: Processor) -> list[str]:
    lines = [
        f"{processor.kind}: {processor.title}",
        f"  runtime: {processor.runtime}",
        f"  gains from: {', '.join(processor.fast) or 'none'}",
        f"  executes: {', '.join(processor.runs) or 'none'}",
        f"  channels in steps of: {processor.channel_multiple}",
    ]
    if processor.threads is not None:
        lines.append(f"  threads: {processor.threads}")
    return lines
