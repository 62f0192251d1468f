"""What is known of a profile before it is fitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgekd.records import Precision
from profile_fitting.candidates import Candidate, Floats, Networks


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What is known of a profile before it is fitted.

    Attributes:
        target: Its name.
        processor: `cpu` or `gpu`.
        precision: Of the measurements.
        runtime: As in the file's name.
        runtime_version: The same with its version.
        measured_on: The board, and whose measurements they are.
        threads: `None` on a GPU and where the source does not say.
        is_preferred: Among the profiles of the same target, processor and precision.
        candidates: The forms to try.
        networks: The measurements.
        base: The same networks, and others, in another precision on the same processor.
        base_form: Of the fit to `base`, if not the one that is tried.
        from_base: What the fit takes from `base`: nothing, the time of launches, or all rates, which are then
            multiplied by the median ratio of the networks measured in both precisions.
        checks: Measurements the fit does not use, with what they are.
        outside: Other networks and runtimes on the same board, which bound the error outside the covered range.
        outside_logs: The same, as ln(measured / predicted), from another precision of the same processor.
        energy: Networks with energy.
        energy_includes: What the power measurement included.
        energy_precision: Of the networks with energy.
        int8_against_floats: What is known of that, in a sentence.
        left_out: Why no profile is written, if none is; the fit is in the page all the same.
        notes: What a reader must know.
        sources: With licences.
    """

    target: str
    processor: Literal["cpu", "gpu"]
    precision: Precision
    runtime: str
    runtime_version: str
    measured_on: str
    threads: int | None
    is_preferred: bool
    candidates: tuple[Candidate, ...]
    networks: Networks
    base: Networks = ()
    base_form: Candidate | None = None
    from_base: Literal["nothing", "launches", "rates"] = "nothing"
    checks: tuple[tuple[str, Networks], ...] = ()
    outside: tuple[Networks, ...] = ()
    outside_logs: tuple[Floats, ...] = ()
    energy: Networks = ()
    energy_includes: str = ""
    energy_precision: Precision = "fp32"
    int8_against_floats: str | None = None
    left_out: str | None = None
    notes: tuple[str, ...]
    sources: tuple[str, ...]
