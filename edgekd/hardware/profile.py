"""Cost models as they lie in `profiles/`: fitted to published measurements of whole networks.

`tools/fit_profiles.py` writes the files; `cost` predicts with them. Tables that a user measured are in `measured`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekd.errors import ProfileError
from edgekd.hardware.operators import FEATURES, MAC_FEATURES
from edgekd.hardware.profile_checks import check_agreement
from edgekd.records import Precision

if TYPE_CHECKING:
    from edgekd.hardware.schema import CoverageEntry, EnergyEntry, ErrorEntry

Bounds = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutError:
    """How far predictions were from measurements that the fit had not seen.

    Errors are shares of the measured value. The `_log` bounds are of ln(measured / predicted) and contain 0:
    `interval_log` is meant to hold 80 % of networks of families that the fit had not seen: their held-out errors, to
    both sides. `interval_coverage` is how many it does hold, tested on each family with bounds made, by the same
    rule, from the other families only. `outside_log` bounds networks beyond the span of the fit: the widest of the
    quantiles of the smallest and the largest quarter held out, and of other networks and runtimes on the same board
    where they were measured.
    """

    networks: int
    families: int
    median_leave_one_out: float
    median_leave_family_out: float
    spearman_leave_one_out: float
    spearman_leave_family_out: float
    interval_log: Bounds
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

    Attributes:
        target: Its name.
        processor: `cpu` or `gpu`.
        precision: Of the networks.
        runtime: Which ran the measurements, as in the file's name: `tflite`, `ncnn`, `tensorrt`.
        runtime_version: The same with its version.
        threads: Of the measurements; `None` on a GPU, and where the source does not say.
        is_preferred: Whether it is the one to use among those of its target, processor and precision.
        measured_on: The board.
        form: One of `forms.FORMS`.
        coefficients_us: Microseconds for each unit of a feature, in the order of `operators.FEATURES`.
        chosen_form: The name in `forms_tried`, which also says what operators share a rate.
        forms_tried: Each form that was tried, with its leave-one-out median error.
        median_form_chosen_unseen: The leave-one-out median error where the form, too, was chosen without the
            network it is tested on.
        coverage: What the networks of the fit span.
        error: Of the latency.
        energy: `None` where nobody measured it.
        checks: Agreement with measurements that the fit did not use.
        notes: What a reader must know.
        sources: With licences.
    """

    target: str
    processor: str
    precision: Precision
    runtime: str
    runtime_version: str
    threads: int | None
    is_preferred: bool
    measured_on: str
    form: str
    coefficients_us: tuple[float, ...]
    chosen_form: str
    forms_tried: tuple[tuple[str, float], ...]
    median_form_chosen_unseen: float
    coverage: Coverage
    error: HeldOutError
    energy: EnergyModel | None
    checks: tuple[Check, ...]
    notes: tuple[str, ...]
    sources: tuple[str, ...]

    @property
    def file_stem(self) -> str:
        """The name of its files in the folder of its target, without suffix."""
        threads = () if self.threads is None else (f"{self.threads}t",)
        return "-".join((self.processor, self.precision, self.runtime, *threads))


def read_profile(path: Path) -> CostModel:
    """Return the cost model in a profile file.

    Raises:
        ProfileError: The file cannot be read or is wrong; the message names the key.
    """
    from edgekd.hardware.schema import ProfileFile, read_toml

    content = read_toml(path, ProfileFile, ProfileError)
    check_agreement(path, content)
    latency = content.latency
    return CostModel(
        target=content.target,
        processor=content.processor,
        precision=content.precision,
        runtime=content.runtime,
        runtime_version=content.runtime_version,
        threads=content.threads,
        is_preferred=content.preferred,
        measured_on=content.measured_on,
        form=latency.form,
        coefficients_us=tuple(latency.coefficients[name] for name in FEATURES),
        chosen_form=latency.chosen_form,
        forms_tried=tuple(latency.forms_tried.items()),
        median_form_chosen_unseen=latency.median_form_chosen_unseen,
        coverage=_to_coverage(latency.coverage),
        error=_to_error(latency.error),
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
