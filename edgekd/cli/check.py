"""`edgekd check`: the gate for continuous integration."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

import click

from edgekd.checks import check_paths, exit_code
from edgekd.cli.options import read_budgets
from edgekd.records import Finding
from edgekd.report.escape import printable

_SCHEMA_VERSION = 1


@click.command(epilog="\b\nExample:\n  edgekd check model.onnx --max-size 250KB")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path))
@click.option("--max-size", metavar="SIZE", help="Most bytes a file may have: B, KB, MB, KiB, MiB.")
@click.option("--max-latency", metavar="TIME", help="Longest predicted latency, for run folders: us, ms, s.")
@click.option("--max-energy", metavar="ENERGY", help="Most predicted energy, for run folders: uJ, mJ, J.")
@click.option("--max-memory", metavar="SIZE", help="Most predicted bytes of activations at once, for run folders.")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to print the findings.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.pass_context
def check(
    context: click.Context,
    /,
    paths: tuple[Path, ...],
    output_format: str,
    as_json: bool,
    **limits: str | None,
) -> None:
    """Check artifact files and run folders: are they whole, and do they keep the budgets?

    PATH is an artifact, checked against the card beside it if there is one, or the folder of a run, all of
    whose artifacts are checked. Nothing is loaded or executed. Exit code 1: a budget is exceeded, or the
    run's verdict is fail. Exit code 2: something is missing, unreadable or damaged, or cannot be known.
    """
    findings = check_paths(paths, read_budgets(limits))
    code = exit_code(findings)
    click.echo(_to_json(findings, code) if as_json or output_format == "json" else _to_text(findings))
    context.exit(code)


def _to_json(findings: tuple[Finding, ...], code: int) -> str:
    entries = [dataclasses.asdict(finding) for finding in findings]
    document = {"schema_version": _SCHEMA_VERSION, "exit_code": code, "findings": entries}
    return json.dumps(document, indent=2, sort_keys=True)


def _to_text(findings: Iterable[Finding]) -> str:
    lines = []
    for finding in findings:
        what = finding.code if finding.level == "note" else f"{finding.level} {finding.code}"
        lines.append(f"{what}: {printable(finding.subject)}: {printable(finding.message)}")
        if finding.hint:
            lines.append(f"  hint: {printable(finding.hint)}")
    return "\n".join(lines)
