"""Write docs/profiles.md: every profile with its errors, and what was left out."""

from __future__ import annotations

from collections.abc import Sequence

from edgekd.hardware.cost import CostModel
from profile_fitting.fit import Fitted

_HEAD = """\
# Cost profiles

`python tools/fit_profiles.py` fits the cost models in `profiles/` to measurements that others published, and writes
this page. All numbers are of networks that the fit had not seen; beside each `.toml` a `.csv` has every network.

- **form**: `linear` adds up computing, moving data and launches of all operators; `roofline` takes the slower of
  computing and moving data for each operator. What follows names the operators that share a rate: `dense` all but
  depthwise, `matrix` all but depthwise and the first layer, `spatial` tells 1x1, wider, first, depthwise and fully
  connected layers apart, `winograd` also 3x3 ones of stride 1, `launches` is `dense` without time for moving data.
  The form with the least LOO was taken, and of those within a point of it the best on unseen families; the file
  lists what was tried.
- **LOO**: median error with the network held out (with its other resolutions or batch-norm twin, where they would
  be the same measurement). **chosen unseen**: the same where the form, too, is chosen without the network.
  **family**: median error with all networks of its family held out.
- **rank**: Spearman correlation of held-out predictions, by network and by family.
- **80 %**: how many networks the 80 % interval holds when it is made from the other families only.
- **energy**: median error given the measured latency, and of the whole chain with predicted latency (families
  held out).
- The errors rest on few networks, 6 to 50 for a profile: with 16, one network more or less can move a median by a
  point or two. They say nothing of the difference between the runtime measured and the one deployed.

A profile in bold is the preferred one of its processor and precision.

"""
_LEFT_OUT = """\

Not even tried: opencv_zoo, whose times include pre- and postprocessing; FBNet on boards, whose values are sums of
table entries and not measurements; NVIDIA's own MLPerf runs on Jetson GPUs, three to six networks a board.
"""
_COLUMNS = ("networks", "families", "GMACs", "form", "LOO", "chosen unseen", "family", "rank", "80 %")


def to_markdown(fitted: Sequence[Fitted]) -> str:
    """Return the page."""
    ordered = sorted(fitted, key=lambda entry: (entry.model.target, entry.model.file_stem))
    written = [entry for entry in ordered if entry.profile.left_out is None]
    lines = ["## Latency", ""]
    lines += _table(
        ("target", "profile", *_COLUMNS),
        [(entry.model.target, _name(entry.model), *_latency_cells(entry.model)) for entry in written],
    )
    lines += ["", "## Energy", ""]
    lines += _table(
        ("target", "profile", "networks", "includes", "given latency", "LOO", "family", "rank", "80 %"),
        [_energy_row(entry.model) for entry in written if entry.model.energy is not None],
    )
    lines += ["", "## int8 against floats on the CPU", ""]
    lines += [
        f"- **{entry.model.target}**, {entry.model.runtime_version}: {entry.profile.int8_against_floats}"
        for entry in written
        if entry.profile.int8_against_floats is not None
    ]
    lines += ["", "## Sources", ""]
    lines += [f"- {source}" for source in sorted({source for entry in written for source in entry.model.sources})]
    lines += ["", "## Fitted and left out", ""]
    lines += _table(
        ("target", "profile", *_COLUMNS, "why"),
        [
            (entry.model.target, entry.model.file_stem, *_latency_cells(entry.model), entry.profile.left_out)
            for entry in ordered
            if entry.profile.left_out is not None
        ],
    )
    return _HEAD + "\n".join(lines) + "\n" + _LEFT_OUT


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [_row(head), _row(["---"] * len(head)), *(_row(row) for row in rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _name(model: CostModel) -> str:
    return f"**{model.file_stem}**" if model.is_preferred else model.file_stem


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def _latency_cells(model: CostModel) -> tuple[str, ...]:
    error = model.error
    low, high = model.coverage.gmacs
    return (
        str(error.networks),
        str(error.families),
        f"{low:.2g} to {high:.2g}",
        model.chosen_form,
        _percent(error.median_leave_one_out),
        _percent(model.median_form_chosen_unseen),
        _percent(error.median_leave_family_out),
        f"{error.spearman_leave_one_out:.2f}, {error.spearman_leave_family_out:.2f}",
        f"{error.interval_coverage * 100:.0f} %",
    )


def _energy_row(model: CostModel) -> tuple[str, ...]:
    energy = model.energy
    assert energy is not None
    error = energy.error
    return (
        model.target,
        _name(model),
        str(error.networks),
        energy.includes,
        _percent(energy.median_given_measured_latency),
        _percent(error.median_leave_one_out),
        _percent(error.median_leave_family_out),
        f"{error.spearman_leave_one_out:.2f}, {error.spearman_leave_family_out:.2f}",
        f"{error.interval_coverage * 100:.0f} %",
    )
