"""`edgekd search`: the widths a network could have on a device, without training any."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from edgekd.cli.job import job_options, make_job
from edgekd.cli.options import compute_options
from edgekd.cli.progress import progress_option, shown_progress
from edgekd.quantities import format_count, format_energy_uj, format_latency_us, format_size

if TYPE_CHECKING:
    from edgekd.records import Candidate, ParetoFront


@click.command(epilog="\b\nExample:\n  edgekd search model.pt2 --data images/ --target rpi4 --max-size 250KB")
@job_options
@compute_options
@progress_option
def search(as_json: bool, quiet: bool, progress_form: str, **options: Any) -> None:
    """Search the widths of a network for a device; `compress --resume` with the same options goes on from there."""
    from edgekd.pipeline import search as run_search
    from edgekd.search.front import front_document

    job = make_job(options)
    with shown_progress(job, progress_form, quiet=quiet) as progress:
        front = run_search(job, progress)
    click.echo(json.dumps(front_document(front), indent=2) if as_json else _text(front))
    click.echo(f"front: {job.run / 'search' / 'front.json'}", err=True)


def _text(front: ParetoFront) -> str:
    from edgekd.search.stopping import RULES

    lines = [
        f"{len(front.candidates)} plans of {front.evaluations}, none better than another in everything; "
        "losses are before any training",
        f"{front.algorithm}, ended by {RULES[front.ended_by]}{_quality(front)}",
        "",
        f"{'plan':<14}{'loss':>8}{'latency':>12}{'energy':>12}{'size':>10}{'memory':>10}{'MACs':>10}{'parameters':>12}",
    ]
    return "\n".join([*lines, *(_line(front, candidate) for candidate in front.candidates)])


def _quality(front: ParetoFront) -> str:
    """The last round's error of the surrogate, if there was one."""
    known = [quality for quality in front.surrogate if quality is not None]
    if not known:
        return ""
    last = known[-1]
    tau = "" if last.kendall_tau is None else f", Kendall tau {last.kendall_tau:.2f}"
    return (
        f"; predicted losses of the last {last.unseen} plans, before they were measured, were off by "
        f"{last.mean_absolute_error:.3f}{tau}"
    )


def _line(front: ParetoFront, candidate: Candidate) -> str:
    values = dict(zip(front.objective_names, candidate.objectives, strict=True))
    latency = format_latency_us(values["latency_us"]) if "latency_us" in values else "not known"
    energy = format_energy_uj(values["energy_uj"]) if "energy_uj" in values else "not known"
    loss = "not known" if candidate.loss is None else f"{candidate.loss:.3f}"
    return (
        f"{candidate.plan.id:<14}{loss:>8}{latency:>12}{energy:>12}{format_size(candidate.size_bytes):>10}"
        f"{format_size(candidate.memory_bytes):>10}"
        f"{format_count(candidate.macs):>10}{format_count(candidate.parameters):>12}"
    )
