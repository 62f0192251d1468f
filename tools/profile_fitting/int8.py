"""Where int8 is faster than floats, and where it is slower, as far as the measurements tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgekd.hardware.forms import operator_times_us
from edgekd.hardware.operators import FEATURES, LAUNCH_FEATURES
from profile_fitting.candidates import Floats, Networks, candidates, stack
from profile_fitting.networks import Measured

# In words, by a feature that only operators of the class have.
_CLASSES = {
    "pointwise_gmacs": "1x1 convolutions",
    "stem_gmacs": "the first convolution",
    "depthwise_gmacs": "depthwise convolutions",
    LAUNCH_FEATURES[1]: "additions, pools and what else has no weights",
}
# Classes are told apart with that many networks, and the slower ones named if they are no more than that.
_ENOUGH = 20
_NAMED = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Time in int8 over time in floats, of the same networks on the same processor in the same runtime.

    Attributes:
        networks: Number of networks measured in both.
        slower: Those that are slower in int8.
        median: Of the ratio of their times.
        lowest: The least ratio.
        highest: The greatest ratio.
        by_class: The least and greatest ratio of the fitted times of all operators of a class, which is in words,
            with each family in turn left out of the fits; empty with few networks.
    """

    networks: int
    slower: tuple[str, ...]
    median: float
    lowest: float
    highest: float
    by_class: tuple[tuple[str, float, float], ...]

    @property
    def sentence(self) -> str:
        """What a reader must know of it."""
        slower = f"{len(self.slower)} of them slower in int8"
        if 0 < len(self.slower) <= _NAMED:
            slower += f" ({', '.join(self.slower)})"
        text = (
            f"Against floats in the same runtime, {self.networks} networks took {self.lowest:.2f} to "
            f"{self.highest:.2f} times as long (median {self.median:.2f}), {slower}."
        )
        if self.by_class:
            parts = ", ".join(f"{low:.2f} to {high:.2f} in {name}" for name, low, high in self.by_class)
            text += (
                f" By a linear model fitted to both alike, with each family in turn left out, the time of operators is "
                f"multiplied by {parts}. That split is the model's; only whole networks were measured."
            )
        return text


def compare(floats: Networks, int8: Networks) -> Comparison:
    """Return how the same networks compare.

    Classes are compared by the time a fit gives them, moving their data included: their rates for computing and
    for moving data cannot be told apart well enough to be compared one by one.
    """
    by_name = {network.name: network for network in floats}
    pairs = [(by_name[network.name], network) for network in int8 if network.name in by_name]
    ratios = np.array([after.latency_us / before.latency_us for before, after in pairs])
    return Comparison(
        networks=len(pairs),
        slower=tuple(after.name for before, after in pairs if after.latency_us > before.latency_us),
        median=float(np.median(ratios)),
        lowest=float(ratios.min()),
        highest=float(ratios.max()),
        by_class=_by_class(pairs) if len(pairs) >= _ENOUGH else (),
    )


def _by_class(pairs: Sequence[tuple[Measured, Measured]]) -> tuple[tuple[str, float, float], ...]:
    found: dict[str, list[float]] = {name: [] for name in _CLASSES}
    for family in sorted({before.family for before, _ in pairs}):
        seen = [pair for pair in pairs if pair[0].family != family]
        before, after = (_class_times(side) for side in zip(*seen, strict=True))
        for name in _CLASSES:
            if before[name] > 0:
                found[name].append(after[name] / before[name])
    return tuple((_CLASSES[name], min(ratios), max(ratios)) for name, ratios in found.items() if ratios)


def _class_times(networks: Networks) -> dict[str, float]:
    form = candidates("matrix")[0]
    work, _ = stack(networks)
    times: Floats = operator_times_us(form.form, form.fit(networks), work)
    return {name: float(times[work[:, FEATURES.index(name)] > 0].sum()) for name in _CLASSES}
