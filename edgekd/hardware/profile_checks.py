"""What a profile file must say beyond its shape, and errors that name the key at fault."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekd.errors import ProfileError
from edgekd.hardware.forms import FORMS
from edgekd.hardware.operators import FEATURES, MAC_FEATURES

if TYPE_CHECKING:
    from edgekd.hardware.schema import EnergyEntry, LatencyEntry, ProfileFile

_AGAIN = "Write the file again with tools/fit_profiles.py."


def check_agreement(path: Path, content: ProfileFile) -> None:
    """Make sure that a file lies where it says, and that its tables agree with each other and with this program.

    Raises:
        ProfileError: They do not; the message names the key.
    """
    _check_place(path, content)
    if content.latency.form not in FORMS:
        raise ProfileError(
            f"{path}, key 'latency.form'",
            expected=f"one of {', '.join(FORMS)}",
            found=repr(content.latency.form),
            hint=_AGAIN,
        )
    if content.latency.chosen_form not in content.latency.forms_tried:
        raise ProfileError(
            f"{path}, key 'latency.chosen_form'",
            expected=f"one of those tried, {', '.join(content.latency.forms_tried)}",
            found=repr(content.latency.chosen_form),
            hint=_AGAIN,
        )
    _check_keys(f"{path}, key 'latency.coefficients'", content.latency.coefficients, FEATURES)
    parts: list[tuple[str, LatencyEntry | EnergyEntry]] = [("latency", content.latency)]
    if content.energy is not None:
        parts.append(("energy", content.energy))
    for name, part in parts:
        _check_keys(f"{path}, key '{name}.coverage.max_share'", part.coverage.max_share, MAC_FEATURES)
        _check_bounds(path, name, part)


def _check_place(path: Path, content: ProfileFile) -> None:
    threads = () if content.threads is None else (f"{content.threads}t",)
    stem = "-".join((content.processor, content.precision, content.runtime, *threads))
    if (path.parent.name, path.stem) != (content.target, stem):
        raise ProfileError(
            f"{path}, keys 'target', 'processor', 'precision', 'runtime', 'threads'",
            expected=f"what the path says, {path.parent.name}/{path.stem}",
            found=f"{content.target}/{stem}",
            hint="Move the file or correct the keys.",
        )


def _check_bounds(path: Path, name: str, part: LatencyEntry | EnergyEntry) -> None:
    spans = [("coverage.gmacs", part.coverage.gmacs), ("coverage.latency_us", part.coverage.latency_us)]
    logs = [("error.interval_log", part.error.interval_log), ("error.outside_log", part.error.outside_log)]
    for key, (low, high) in spans:
        if not 0 < low <= high:
            raise _bad_bounds(f"{path}, key '{name}.{key}'", "two positive numbers, ascending", low, high)
    for key, (low, high) in logs:
        if not low <= 0 <= high:
            raise _bad_bounds(f"{path}, key '{name}.{key}'", "bounds with 0 between them", low, high)


def _check_keys(where: str, found: dict[str, float], expected: tuple[str, ...]) -> None:
    if set(found) != set(expected):
        raise ProfileError(
            where, expected=f"exactly {', '.join(expected)}", found=", ".join(found) or "nothing", hint=_AGAIN
        )


def _bad_bounds(where: str, expected: str, low: float, high: float) -> ProfileError:
    return ProfileError(where, expected=expected, found=f"{low}, {high}", hint=_AGAIN)
