"""Write fitted cost models as TOML, and what fits that had not seen a network predict for it as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence

from edgekd.hardware.cost import CostModel
from edgekd.hardware.operators import FEATURES, MAC_FEATURES
from edgekd.hardware.profile import Bounds, Coverage, HeldOutError
from profile_fitting.candidates import latency_features
from profile_fitting.fit import Fitted
from profile_fitting.networks import Measured


def to_toml(model: CostModel) -> str:
    """Return a profile file."""
    lines = ["# Written by tools/fit_profiles.py; do not edit.", "schema_version = 2"]
    names = ("target", "processor", "precision", "runtime", "runtime_version")
    lines += [f"{name} = {_quote(getattr(model, name))}" for name in names]
    if model.threads is not None:
        lines.append(f"threads = {model.threads}")
    lines += [f"preferred = {str(model.is_preferred).lower()}", 'origin = "fitted"']
    lines.append(f"measured_on = {_quote(model.measured_on)}")
    lines += _list("notes", model.notes) + _list("sources", model.sources)
    lines += ["", "[latency]", f"form = {_quote(model.form)}"]
    lines.append(f"chosen_form = {_quote(model.chosen_form)}")
    chosen = _number(model.median_form_chosen_unseen)
    lines.append(f"median_form_chosen_unseen = {chosen} # leave one out, the form chosen without it")
    lines += ["", "[latency.forms_tried] # leave-one-out median error"]
    lines += [f"{name} = {_number(median)}" for name, median in model.forms_tried]
    lines += ["", "[latency.coefficients] # microseconds for each unit of the feature"]
    lines += [f"{key} = {_number(v)}" for key, v in zip(FEATURES, model.coefficients_us, strict=True)]
    lines += _coverage("latency", model.coverage) + _error("latency", model.error)
    if model.energy is not None:
        energy = model.energy
        lines += ["", "[energy]", f"includes = {_quote(energy.includes)}"]
        lines.append(f"measured_precision = {_quote(energy.measured_precision)}")
        for name in ("power_w", "uj_per_gmac", "uj_per_melement", "median_given_measured_latency"):
            lines.append(f"{name} = {_number(getattr(energy, name))}")
        lines += _coverage("energy", energy.coverage) + _error("energy", energy.error)
    for check in model.checks:
        lines += ["", "[[checks]]", f"data = {_quote(check.data)}", f"networks = {check.networks}"]
        for name in ("median_error", "factor", "median_error_after_factor", "spearman"):
            lines.append(f"{name} = {_number(getattr(check, name))}")
    return "\n".join(lines) + "\n"


def _coverage(table: str, coverage: Coverage) -> list[str]:
    lines = ["", f"[{table}.coverage] # what the networks of the fit span"]
    lines += [f"gmacs = {_pair(coverage.gmacs)}", f"latency_us = {_pair(coverage.latency_us)}"]
    lines += ["", f"[{table}.coverage.max_share] # of a network's MACs"]
    return lines + [f"{name} = {_number(share)}" for name, share in coverage.max_share]


def _error(table: str, error: HeldOutError) -> list[str]:
    lines = ["", f"[{table}.error] # of predictions for networks that the fit had not seen"]
    lines += [f"networks = {error.networks}", f"families = {error.families}"]
    for name in (
        "median_leave_one_out",
        "median_leave_family_out",
        "spearman_leave_one_out",
        "spearman_leave_family_out",
    ):
        lines.append(f"{name} = {_number(getattr(error, name))}")
    lines.append(f"interval_log = {_pair(error.interval_log)} # of ln(measured / predicted), family held out")
    lines.append(f"interval_coverage = {_number(error.interval_coverage)} # of bounds made from other families")
    return [*lines, f"outside_log = {_pair(error.outside_log)} # beyond the span above"]


def _number(value: float) -> str:
    # Five digits are more than any of these measurements has, and keep the file the same on every machine.
    return f"{value:.5g}"


def _pair(bounds: Bounds) -> str:
    return f"[{_number(bounds[0])}, {_number(bounds[1])}]"


def _quote(value: str) -> str:
    return json.dumps(value)  # a JSON string of plain text is a TOML string


def _list(name: str, values: Sequence[str]) -> list[str]:
    return [f"{name} = [", *(f"    {_quote(value)}," for value in values), "]"]


def to_csv(fitted: Fitted) -> str:
    """Return the networks with what was measured and what held-out fits predict, a line for each quantity.

    `given_latency` is the energy from the measured latency, with the family held out of the energy fit.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    columns = ["quantity", "network", "family", "gmacs", "measured"]
    writer.writerow([*columns, "leave_one_out", "leave_family_out", "given_latency"])
    latency = fitted.latency
    for network, by_one, by_family in zip(
        fitted.profile.networks, latency.leave_one_out, latency.leave_family_out, strict=True
    ):
        writer.writerow(_line("latency_us", network, network.latency_us, by_one, by_family, None))
    if fitted.energy is not None:
        energy = fitted.energy
        rows = zip(
            fitted.profile.energy, energy.leave_one_out, energy.leave_family_out, energy.given_latency, strict=True
        )
        for network, *predicted in rows:
            measured = network.energy_uj if network.energy_uj is not None else 0.0
            writer.writerow(_line("energy_uj", network, measured, *predicted))
    return file.getvalue()


def _line(quantity: str, network: Measured, measured: float, *predicted: float | None) -> list[str]:
    gmacs = float(latency_features([network])[0, : len(MAC_FEATURES)].sum())
    numbers = ["" if value is None else _number(float(value)) for value in predicted]
    # What was measured is written as it is, so that no two become equal.
    return [quantity, network.name, network.family, _number(gmacs), f"{measured:.9g}", *numbers]
