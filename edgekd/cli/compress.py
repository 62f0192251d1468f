"""`edgekd compress`: the main job."""

from __future__ import annotations

from typing import Any

import click

from edgekd.cli.job import job_options, make_job
from edgekd.cli.options import compute_options, show_remarks
from edgekd.cli.progress import progress_option, shown_progress


@click.command(
    epilog="\b\nExample:\n  edgekd compress model.pt2 --data images/ --target rpi4 --max-size 250KB --epochs 10"
)
@job_options
@click.option("--epochs", type=int, help="Training epochs, fake-quantized ones included. [10]")
@click.option("--learning-rate", type=float, help="Highest learning rate of the float epochs. [0.05]")
@click.option("--train-precision", type=click.Choice(["fp32", "bf16"]), help="Arithmetic of float epochs. [fp32]")
@click.option("--augment", help="Comma-separated: crop, flip; or none. [crop,flip]")
@click.option("--baseline", is_flag=True, default=None, help="Also train the original as long, for comparison.")
@click.option("--export", "exports", default=None, help="onnx, or onnx,tvm. [onnx, and tvm where it can be built]")
@compute_options
@progress_option
def compress(as_json: bool, quiet: bool, progress_form: str, **options: Any) -> None:
    """Compress a trained network into verified artifacts for a device, with a report."""
    from edgekd.pipeline import compress as run_job
    from edgekd.report.document import report_to_json
    from edgekd.report.text import render_text

    job = make_job(options)
    with shown_progress(job, progress_form, quiet=quiet) as progress:
        report = run_job(job, progress)
    show_remarks(finding for finding in report.findings if finding.subject == str(job.source.path))
    click.echo(report_to_json(report) if as_json else render_text(report), nl=not as_json)
    click.echo(f"report: {job.run / 'report' / 'report.html'}", err=True)
