"""Energy from latency, work and data moved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekd.hardware.operators import MAC_FEATURES, elements
from profile_fitting.candidates import Floats, Networks, latencies_us, latency_features, relative_nnls


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutEnergy:
    """Predictions in microjoules, `[networks]`: of the chain with predicted latency, and given the measured one."""

    leave_one_out: Floats
    leave_family_out: Floats
    given_latency: Floats


def energies_uj(networks: Networks) -> Floats:
    """Return what was measured, `[networks]`; all of them have an energy."""
    return np.array([network.energy_uj for network in networks], dtype=float)


def fit_rates(networks: Networks) -> Floats:
    """Return watts, microjoules a GMAC and microjoules a million moved elements, fitted to measured latency."""
    return relative_nnls(_columns(networks, latencies_us(networks)), energies_uj(networks))


def predict_energy(rates: Floats, networks: Networks, latency_us: Floats) -> Floats:
    """Return predictions in microjoules, `[networks]`, given latencies in microseconds."""
    result: Floats = _columns(networks, latency_us) @ rates
    return result


def _columns(networks: Networks, latency_us: Floats) -> Floats:
    """Return latency, GMACs and millions of moved elements, `[networks, 3]`."""
    gmacs = latency_features(networks)[:, : len(MAC_FEATURES)].sum(axis=1)
    moved = np.concatenate([elements(network.operators).sum(axis=1) for network in networks])
    return np.stack([latency_us, gmacs, moved], axis=1)
