"""Cost models as they lie in `profiles/`: fitted to published measurements of whole networks.

`tools/fit_profiles.py` writes the files; `cost` predicts with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekd.errors import ProfileError
from edgekd.hardware.data import data_folder
from edgekd.hardware.operators import FEATURES, MAC_FEATURES
from edgekd.records import Precision

if TYPE_CHECKING:
    from edgekd.hardware.schema import CoverageEntry, EnergyEntry, ErrorEntry, LatencyEntry, ProfileFile

Bounds = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutError:
    """How far predictions were from measurements that the fit had not seen.

    Errors are shares of the measured value. The `_log` bounds are of ln(measured / predicted) and contain 0:
    `interval_log` the 10 % and 90 % quantiles with whole families held out (no side narrower than the median
    error), widened by `interval_widening`, the smallest factor with which at least 80 % of the networks lay
    inside bounds made from the other families; `interval_coverage` is the share that did. `outside_log` bounds
    networks beyond the span of the fit: the widest of the quantiles of the smallest and the largest quarter held
    out, and of other networks and runtimes on the same board where they were measured.
    """

    networks: int
    families: int
    median_leave_one_out: float
    median_leave_family_out: float
    spearman_leave_family_out: float
    interval_log: Bounds
    interval_widening: float
    interval_coverage: float
    outside_log: Bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What the networks of the fit span; `max_share` is the largest share of MACs one has in a kind of layer."""

    gmacs: Bounds
    latency_us: Bounds
    max_share: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyModel:
    """Energy in microjoules = `power_w` x latency in microseconds + `uj_per_gmac` x GMACs + ... x Melements.

    `includes` says where the power was measured. `median_given_measured_latency` is the held-out error of the
    energy formula alone; `error` is that of the whole chain, predicted latency included.
    """

    includes: str
    measured_precision: Precision
    power_w: float
    uj_per_gmac: float
    uj_per_melement: float
    median_given_measured_latency: float
    coverage: Coverage
    error: HeldOutError


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Agreement with measurements the fit did not use; `factor` is the median of measured / predicted."""

    data: str
    networks: int
    median_error: float
    factor: float
    median_error_after_factor: float
    spearman: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CostModel:
    """Latency and, where measured, energy of a network on one processor in one precision.

    `coefficients_us` are microseconds for each unit of a feature, in the order of `operators.FEATURES`.
    `runtime` and `threads` are those of the measurements; `threads` is `None` where the source does not say.
    """

    target: str
    processor: str
    precision: Precision
    runtime: str
    measured_on: str
    threads: int | None
    coefficients_us: tuple[float, ...]
    coverage: Coverage
    error: HeldOutError
    energy: EnergyModel | None
    checks: tuple[Check, ...]
    notes: tuple[str, ...]
    sources: tuple[str, ...]


def load_cost_model(
    target: str, processor: str, precision: Precision, *, folder: Path | None = None
) -> CostModel | None:
    """Return the cost model of a processor in a precision, or `None` where nothing was published to fit to.

    Args:
        target: Name of the target.
        processor: Its kind, `cpu` or `gpu`.
        precision: Of the network that runs there.
        folder: Of the profiles, if not those that come with EdgeKD.

    Raises:
        ProfileError: The file is there and wrong; the message names the key.
    """
    path = (folder or data_folder("profiles")) / target / f"{processor}-{precision}.toml"
    return read_profile(path) if path.is_file() else None


def read_profile(path: Path) -> CostModel:
    """Return the cost model in a profile file.

    Raises:
        ProfileError: The file cannot be read or is wrong; the message names the key.
    """
    from edgekd.hardware.schema import ProfileFile, read_toml

    content = read_toml(path, ProfileFile, ProfileError)
    _check_agreement(path, content)
    return CostModel(
        target=content.target,
        processor=content.processor,
        precision=content.precision,
        runtime=content.runtime,
        measured_on=content.measured_on,
        threads=content.threads,
        coefficients_us=tuple(content.latency.coefficients[name] for name in FEATURES),
        coverage=_to_coverage(content.latency.coverage),
        error=_to_error(content.latency.error),
        energy=None if content.energy is None else _to_energy(content.energy),
        checks=tuple(Check(**check.model_dump()) for check in content.checks),
        notes=tuple(content.notes),
        sources=tuple(content.sources),
    )


def _to_coverage(entry: CoverageEntry) -> Coverage:
    shares = tuple((name, entry.max_share[name]) for name in MAC_FEATURES)
    return Coverage(gmacs=_pair(entry.gmacs), latency_us=_pair(entry.latency_us), max_share=shares)


def _to_error(entry: ErrorEntry) -> HeldOutError:
    values = entry.model_dump()
    values["interval_log"], values["outside_log"] = _pair(entry.interval_log), _pair(entry.outside_log)
    return HeldOutError(**values)


def _to_energy(entry: EnergyEntry) -> EnergyModel:
    values = entry.model_dump(exclude={"coverage", "error"})
    return EnergyModel(**values, coverage=_to_coverage(entry.coverage), error=_to_error(entry.error))


def _pair(values: list[float]) -> Bounds:
    return values[0], values[1]


def _check_agreement(path: Path, content: ProfileFile) -> None:
    named = (path.parent.name, *path.stem.split("-", 1))
    stated = (content.target, content.processor, content.precision)
    if named != stated:
        raise ProfileError(
            f"{path}, keys 'target', 'processor', 'precision'",
            expected=f"what the path says, {'/'.join(named)}",
            found="/".join(stated),
            hint="Move the file or correct the keys.",
        )
    _check_keys(f"{path}, key 'latency.coefficients'", content.latency.coefficients, tuple(FEATURES))
    parts: list[tuple[str, LatencyEntry | EnergyEntry]] = [("latency", content.latency)]
    if content.energy is not None:
        parts.append(("energy", content.energy))
    for name, part in parts:
        _check_keys(f"{path}, key '{name}.coverage.max_share'", part.coverage.max_share, MAC_FEATURES)
        bounds = [("coverage.gmacs", part.coverage.gmacs), ("coverage.latency_us", part.coverage.latency_us)]
        logs = [
            ("error.interval_log", part.error.interval_log),
            ("error.outside_log", part.error.outside_log),
        ]
        for key, (low, high) in bounds:
            if not 0 < low <= high:
                raise _bad_bounds(f"{path}, key '{name}.{key}'", "two positive numbers, ascending", low, high)
        for key, (low, high) in logs:
            if not low <= 0 <= high:
                raise _bad_bounds(f"{path}, key '{name}.{key}'", "bounds with 0 between them", low, high)


def _check_keys(where: str, found: dict[str, float], expected: tuple[str, ...]) -> None:
    if set(found) != set(expected):
        raise ProfileError(
            where,
            expected=f"exactly {', '.join(expected)}",
            found=", ".join(found) or "nothing",
            hint="Write the file again with tools/fit_profiles.py.",
        )


def _bad_bounds(where: str, expected: str, low: float, high: float) -> ProfileError:
    return ProfileError(
        where,
        expected=expected,
        found=f"{low}, {high}",
        hint="Write the file again with tools/fit_profiles.py.",
    )
