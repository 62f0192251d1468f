"""Fit a profile: choose its form, and find out how far it can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgekd.hardware.operators import FEATURES, LAUNCH_FEATURES
from edgekd.hardware.profile import CostModel, EnergyModel
from profile_fitting import held_out
from profile_fitting.candidates import Candidate, Floats, Networks, latencies_us
from profile_fitting.energy import HeldOutEnergy, energies_uj, fit_rates, predict_energy
from profile_fitting.held_out import hold_out
from profile_fitting.networks import Key, architecture, family
from profile_fitting.profile import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A cost model and the held-out predictions behind its errors."""

    profile: Profile
    model: CostModel
    latency: held_out.Tried
    energy: HeldOutEnergy | None


@dataclass(frozen=True, slots=True)
class Fitter:
    """A candidate, fitted to whatever of a profile it may see."""

    profile: Profile
    candidate: Candidate
    # Energy asks for the same held-out fits as latency.
    _known: dict[tuple[str, ...], Floats] = field(default_factory=dict)

    def coefficients(self, hidden: Networks, key: Key) -> Floats:
        """Return the fit to the networks, of the base too, whose key no hidden one has, `[features]`."""
        keys = {key(network) for network in hidden}
        seen = [network for network in self.profile.networks if key(network) not in keys]
        base = [network for network in self.profile.base if key(network) not in keys]
        names = (*(network.name for network in seen), "of the base:", *(network.name for network in base))
        if names not in self._known:
            self._known[names] = self._fit(seen, base)
        return self._known[names]

    def predict_unseen(self, key: Key) -> Callable[[Networks], Floats]:
        """Return the function that predicts networks from fits that see none with the key of one of them."""
        return lambda out: self.candidate.predict(self.coefficients(out, key), out)

    def _fit(self, seen: Networks, base: Networks) -> Floats:
        if self.profile.from_base == "rates":
            base_us = {network.name: network.latency_us for network in self.profile.base}
            ratios = [network.latency_us / base_us[network.name] for network in seen]
            scaled: Floats = self.candidate.fit(base) * float(np.median(ratios))
            return scaled
        given: Mapping[str, float] = {}
        if self.profile.from_base == "launches":
            form = self.profile.base_form or self.candidate
            rates = dict(zip(FEATURES, form.fit(base), strict=True))
            given = {name: float(rates[name]) for name in LAUNCH_FEATURES}
        return self.candidate.fit(seen, given)


def fit_profile(profile: Profile) -> Fitted:
    """Return the best of the candidates for a profile's measurements, with its errors."""
    networks, measured = profile.networks, latencies_us(profile.networks)
    fitters = [Fitter(profile, candidate) for candidate in profile.candidates]
    tried = [_try(fitter) for fitter in fitters]
    medians = [held_out.median_error(measured, form.leave_one_out) for form in tried]
    chosen = held_out.choose_form(measured, tried)
    fitter, by_one, by_family = fitters[chosen], tried[chosen].leave_one_out, tried[chosen].leave_family_out
    coefficients = fitter.coefficients((), architecture)
    outside = _outside_logs(fitter)
    energy, energy_predicted = fit_energy(fitter, outside) if profile.energy else (None, None)
    families = [network.family for network in networks]
    model = CostModel(
        target=profile.target,
        processor=profile.processor,
        precision=profile.precision,
        runtime=profile.runtime,
        runtime_version=profile.runtime_version,
        threads=profile.threads,
        is_preferred=profile.is_preferred,
        measured_on=profile.measured_on,
        form=fitter.candidate.form,
        chosen_form=fitter.candidate.name,
        coefficients_us=tuple(float(value) for value in coefficients),
        forms_tried=tuple((form.name, median) for form, median in zip(profile.candidates, medians, strict=True)),
        median_form_chosen_unseen=held_out.median_error(measured, held_out.chosen_unseen(measured, tried)),
        coverage=held_out.coverage(networks),
        error=held_out.held_out_error(measured, families, by_one, by_family, outside),
        energy=energy,
        checks=tuple(
            held_out.check(data, others, fitter.candidate.predict(coefficients, others))
            for data, others in profile.checks
        ),
        notes=(*profile.notes, *([profile.int8_against_floats] if profile.int8_against_floats else [])),
        sources=profile.sources,
    )
    return Fitted(profile=profile, model=model, latency=tried[chosen], energy=energy_predicted)


def _try(fitter: Fitter) -> held_out.Tried:
    networks = fitter.profile.networks
    return held_out.Tried(
        leave_one_out=hold_out(networks, [n.architecture for n in networks], fitter.predict_unseen(architecture)),
        leave_family_out=hold_out(networks, [n.family for n in networks], fitter.predict_unseen(family)),
    )


def _outside_logs(fitter: Fitter) -> list[Floats]:
    """Return ln(measured / predicted) outside the covered range.

    First of the smallest and the largest quarter by MACs, each held out; then of other networks on the same board.
    """
    predict = fitter.predict_unseen(architecture)
    ends = held_out.smallest_and_largest(fitter.profile.networks)
    by_size = [held_out.log_ratio(latencies_us(end), predict(end)) for end in ends]
    logs = [np.concatenate(by_size), *fitter.profile.outside_logs]
    coefficients = fitter.coefficients((), architecture)
    for others in fitter.profile.outside:
        predicted = fitter.candidate.predict(coefficients, others)
        logs.append(held_out.log_ratio(latencies_us(others), predicted))
    return logs


def fit_energy(fitter: Fitter, outside: Sequence[Floats]) -> tuple[EnergyModel, HeldOutEnergy]:
    """Fit energy to measured latency, and test the chain with predicted latency on networks unseen by both fits.

    Args:
        fitter: Of latency.
        outside: ln(measured / predicted) of latency outside the covered range.
    """
    profile = fitter.profile
    networks, measured = profile.energy, energies_uj(profile.energy)
    families = [network.family for network in networks]
    if len(set(families)) == 1:
        families = [network.architecture for network in networks]

    def chain(groups: Sequence[str], key: Key) -> Floats:
        def predict(out: Networks) -> Floats:
            latency_us = fitter.predict_unseen(key)(out)
            return predict_energy(fit_energy_without(out, groups), out, latency_us)

        return hold_out(networks, groups, predict)

    def fit_energy_without(out: Networks, groups: Sequence[str]) -> Floats:
        hidden = {group for group, network in zip(groups, networks, strict=True) if network in out}
        return fit_rates([n for n, group in zip(networks, groups, strict=True) if group not in hidden])

    # The rows of one architecture are nearly the same measurement, so they leave together.
    by_one = chain([network.architecture for network in networks], architecture)
    by_family = chain(families, family)
    formula = hold_out(
        networks, families, lambda out: predict_energy(fit_energy_without(out, families), out, latencies_us(out))
    )
    power_w, uj_per_gmac, uj_per_melement = (float(value) for value in fit_rates(networks))
    model = EnergyModel(
        includes=profile.energy_includes,
        measured_precision=profile.energy_precision,
        power_w=power_w,
        uj_per_gmac=uj_per_gmac,
        uj_per_melement=uj_per_melement,
        median_given_measured_latency=held_out.median_error(measured, formula),
        coverage=held_out.coverage(networks),
        # Energy is power times latency: where latency is uncertain outside its range, energy is at least as much.
        error=held_out.held_out_error(measured, families, by_one, by_family, outside),
    )
    return model, HeldOutEnergy(leave_one_out=by_one, leave_family_out=by_family, given_latency=formula)
