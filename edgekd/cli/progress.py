"""How the commands that take long show what they do, and what they say when they are interrupted."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgekd.progress import Events, Lines, Progress, Recorded, Silent
from edgekd.store import RunFolder

if TYPE_CHECKING:
    from edgekd.job import Job

_LEAST_COLUMNS = 60  # below them a bar would leave no room for figures
_Function = TypeVar("_Function", bound=Callable[..., Any])


def progress_option(command: _Function) -> _Function:
    """Add the option that chooses how progress is shown."""
    return click.option(
        "--progress",
        "progress_form",
        type=click.Choice(["auto", "lines", "json", "none"]),
        default="auto",
        show_default=True,
        help="On stderr: a bar on a terminal, a line a stage, JSON events, or nothing.",
    )(command)


@contextlib.contextmanager
def shown_progress(job: Job, form: str, *, quiet: bool) -> Iterator[Progress]:
    """Give what a job reports to; an interruption says how to go on with the run."""
    try:
        with _shown(form, quiet=quiet) as progress:
            yield Recorded(progress, RunFolder(job.run))
    except KeyboardInterrupt:
        if RunFolder(job.run).manifest.is_file():
            words = shlex.split(job.command)
            again = shlex.join(words if "--resume" in words else [*words, "--resume"])
            click.echo(f"\ninterrupted: everything that was finished is kept. Go on with:\n  {again}", err=True)
        raise


@contextlib.contextmanager
def _shown(form: str, *, quiet: bool) -> Iterator[Progress]:
    if quiet or form == "none":
        yield Silent()
    elif form == "json":
        yield Events(sys.stderr)
    elif form == "auto" and sys.stderr.isatty() and shutil.get_terminal_size().columns >= _LEAST_COLUMNS:
        from edgekd.cli.bar import Bar

        with Bar() as bar:
            yield bar
    else:
        yield Lines(sys.stderr)
