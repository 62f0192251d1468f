"""`edgekd watch`: a run as it goes on."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekd.report.escape import printable

if TYPE_CHECKING:
    from edgekd.following import Status

_SECONDS = 1.0


@click.command(epilog="\b\nExample:\n  edgekd watch runs/model-rpi4")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--once", is_flag=True, help="Show how far it is, and end.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, and end.")
@click.pass_context
def watch(context: click.Context, run: Path, once: bool, as_json: bool) -> None:
    """Follow a run from its folder: the stages that have ended, the one that runs, and the verdict.

    Exit code 1: the run's verdict is fail. It may run in another terminal, on this machine.
    """
    from edgekd.following import read_status, stage_text

    status = read_status(run)
    if as_json:
        click.echo(json.dumps({"schema_version": 1, **dataclasses.asdict(status)}, indent=2))
        context.exit(1 if status.state == "fail" else 0)
    shown: list[str] = []
    is_terminal = sys.stdout.isatty()
    while True:
        for result in status.finished:
            line = printable(stage_text(result))
            if line not in shown:
                _clear(is_terminal)
                click.echo(line)
                shown.append(line)
        if once or status.state != "running":
            break
        if is_terminal:
            _clear(is_terminal)
            click.echo(printable(_current(status))[: _columns() - 1], nl=False)
        time.sleep(_SECONDS)
        status = read_status(run)
    _clear(is_terminal)
    click.echo(_ending(status, run))
    context.exit(1 if status.state == "fail" else 0)


def _current(status: Status) -> str:
    share = f"{status.done / status.total:4.0%}  " if status.total else ""
    return f"{status.stage:<9}{share}{status.text}"


def _ending(status: Status, run: Path) -> str:
    if status.state == "running":
        return printable(f"{_current(status)}  (running)")
    if status.state == "stopped":
        where = f"in {status.stage}" if status.stage else "before its first stage"
        return printable(f"STOPPED {where}: go on with the same command and --resume (run folder {run})")
    return f"{status.state.upper()}: edgekd report {printable(str(run))}"


def _clear(is_terminal: bool) -> None:
    if is_terminal:
        click.echo("\r\x1b[K", nl=False)


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns
