"""`edgekd doctor`: what this machine can do."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from edgekd.errors import MissingDependencyError, UnknownNameError
from edgekd.report.escape import printable

if TYPE_CHECKING:
    from edgekd.doctor import Part


@click.command(epilog="\b\nExample:\n  edgekd doctor --require onnxruntime,ssh")
@click.option("--require", metavar="NAMES", help="Comma-separated parts without which the exit code is 3.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def doctor(require: str | None, as_json: bool) -> None:
    """Say what this machine can do: each part, what it is for, and, where it is missing, what brings it."""
    from edgekd.doctor import examine

    parts = examine()
    asked = [name.strip() for name in (require or "").split(",") if name.strip()]
    by_name = {part.name: part for part in parts}
    for name in asked:
        if name not in by_name:
            raise UnknownNameError("--require", name, by_name)
    if as_json:
        document = {"schema_version": 1, "parts": [dataclasses.asdict(part) for part in parts]}
        click.echo(json.dumps(document, indent=2))
    else:
        click.echo("\n".join(printable(line) for line in _lines(parts)))
    missing = [by_name[name] for name in asked if not by_name[name].is_there]
    if missing:
        raise MissingDependencyError(
            "--require",
            expected=", ".join(asked),
            found=", ".join(f"{part.name}: {part.found}" for part in missing),
            hint="; ".join(part.remedy or "" for part in missing),
        )


def _lines(parts: tuple[Part, ...]) -> Iterator[str]:
    width = max(len(part.name) for part in parts)
    for part in parts:
        mark = "ok     " if part.is_there else "missing"
        yield f"{mark}  {part.name:<{width}}  {part.found}"
        if not part.is_there:
            yield f"{'':<{width + 11}}to {part.purpose}: {part.remedy}"
