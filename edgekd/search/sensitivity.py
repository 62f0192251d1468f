"""First candidates for the search: what each group can bear, measured alone, added up, and spent greedily.

Random widths within a tight budget are nearly all bad, and NSGA-II has too few real evaluations to find its way out
of them. One evaluation a group says how much its narrowing hurts; plans made from that by arithmetic start the search
near good ones.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edgekd.search.nsga2 import Array, Genes
from edgekd.search.space import WidthSpace

# How far the copies of the greedy plan stray: the standard deviation of the logarithm of each sensitivity.
_SPREAD = 0.5


def group_sensitivities(space: WidthSpace, loss: Callable[[Genes], float]) -> Array:
    """Return how much the loss rises when one group alone is halved (or nearly so), `[genes]`; at least a trifle.

    Tied groups are halved together; a group that cannot be narrowed gets infinity.
    """
    full = np.array([len(choices) - 1 for choices in space.choices])
    base = loss(full)
    rises = np.full(len(full), np.inf)
    for group, choices in enumerate(space.choices):
        if len(choices) < 2:
            continue
        probe = full.copy()
        probe[group] = _halved(choices)
        rise = max(loss(probe) - base, 1e-4)
        rises[group] = rise / _hurt(choices[probe[group]] / choices[-1])
    return rises


def greedy_plans(
    space: WidthSpace,
    sensitivities: Array,
    violation: Callable[[Genes], Array],
    *,
    count: int,
    generator: np.random.Generator,
) -> Genes:
    """Return genes of up to `count` plans that meet the budgets at the least expected loss, `[plans, genes]`.

    From the full network, the group whose next narrower width costs the least expected loss for the violation it
    takes away is narrowed, until no budget is exceeded. The expected loss of a plan is the sum over groups of
    sensitivity times the square of the dropped share. The first plan uses the sensitivities as they are, the
    others disturbed ones.

    Args:
        space: The widths.
        sensitivities: From `group_sensitivities`.
        violation: From genes `[plans, genes]` to the largest excess over a budget, `[plans]`.
        count: How many plans to make.
        generator: Disturbs the sensitivities.
    """
    plans = [_descend(space, sensitivities, violation)]
    for _ in range(count - 1):
        disturbed = sensitivities * np.exp(generator.normal(0.0, _SPREAD, size=len(sensitivities)))
        plans.append(_descend(space, disturbed, violation))
    return np.unique(np.stack(plans), axis=0)


def _descend(space: WidthSpace, sensitivities: Array, violation: Callable[[Genes], Array]) -> npt.NDArray[np.int64]:
    genes = np.array([len(choices) - 1 for choices in space.choices])
    for _ in range(int(genes.sum())):
        excess = float(violation(genes[None])[0])
        if excess <= 0:
            break
        movable = np.flatnonzero(genes > 0)
        steps = np.repeat(genes[None], len(movable), axis=0)
        steps[np.arange(len(movable)), movable] -= 1
        gained = np.maximum(excess - violation(steps), 1e-12)
        lost = [_rise(space, sensitivities, int(group), int(genes[group])) for group in movable]
        genes = steps[int(np.argmin(np.array(lost) / gained))]
    return genes


def _rise(space: WidthSpace, sensitivities: Array, group: int, gene: int) -> float:
    choices = space.choices[group]
    before, after = _hurt(choices[gene] / choices[-1]), _hurt(choices[gene - 1] / choices[-1])
    return float(sensitivities[group]) * (after - before)


def _hurt(ratio: float) -> float:
    """How much a width ratio hurts, up to the group's sensitivity: the square of the dropped share."""
    return (1.0 - ratio) ** 2


def _halved(choices: tuple[int, ...]) -> int:
    """The gene nearest to half the full width, but not the full one."""
    narrower = choices[:-1]
    return int(np.argmin([abs(width - choices[-1] / 2) for width in narrower]))
