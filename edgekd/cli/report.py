"""`edgekd report`: the report of a run, in the form that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import click

from edgekd.errors import ExportError, OutputError
from edgekd.records import Report
from edgekd.report import read_report, render_html, render_markdown, report_to_json
from edgekd.store import write_text

_FORMATS: Mapping[str, Callable[[Report], str]] = MappingProxyType(
    {"html": render_html, "md": render_markdown, "json": report_to_json}
)


@click.command(epilog="\b\nExample:\n  edgekd report runs/latest --format html -o report.html")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "output_format",
    type=click.Choice(list(_FORMATS)),
    default="md",
    show_default=True,
    help="The form of the report.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write it to this file instead of standard output.",
)
def report(run: Path, output_format: str, as_json: bool, output: Path | None) -> None:
    """Print the report of a run, made from its report.json.

    RUN is the folder of a run, its report folder, or a report.json.
    """
    text = _FORMATS["json" if as_json else output_format](read_report(run))
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        write_text(output, text)
    except ExportError as error:
        raise OutputError(
            f"--output {output}", expected=error.expected, found=error.found, hint="Choose another place."
        ) from error
