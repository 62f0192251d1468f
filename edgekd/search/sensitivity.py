"""First candidates for the search: what each group can bear, measured alone, added up, and spent greedily.

Random widths within a tight budget are nearly all bad, and NSGA-II has too few real evaluations to find its way out
of them. One evaluation a group says how much its narrowing hurts; plans made from that by arithmetic start the search
near good ones.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edgekd.search.nsga import Genes
from edgekd.search.pareto import Array
from edgekd.search.space import WidthSpace

# How far the copies of the greedy plan stray: the standard deviation of the logarithm of each sensitivity.
_SPREAD = 0.5


def group_sensitivities(space: WidthSpace, losses: Callable[[Genes], Array]) -> Array:
    """Return how much the loss rises when one group alone is halved (or nearly so), `[genes]`; at least a trifle.

    Tied groups are halved together. A group that cannot be narrowed gets infinity, and so does one without which the
    loss is not finite.

    Args:
        space: The widths.
        losses: From genes `[plans, genes]` to losses `[plans]`; called once, with the full network first.
    """
    full = np.array([len(choices) - 1 for choices in space.choices])
    movable = np.flatnonzero(full)
    probes = np.repeat(full[None], len(movable) + 1, axis=0)
    halves = [_halved(space.choices[group]) for group in movable]
    probes[1 + np.arange(len(movable)), movable] = halves
    measured = losses(probes)
    base = measured[0] if np.isfinite(measured[0]) else 0.0
    rises = np.full(len(full), np.inf)
    for group, half, loss in zip(movable, halves, measured[1:], strict=True):
        choices = space.choices[group]
        rises[group] = max(loss - base, 1e-4) / _hurt(choices[half] / choices[-1])
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
    if count < 1:
        return np.empty((0, len(space.choices)), dtype=np.int64)
    plans = [_descend(space, sensitivities, violation)]
    for _ in range(count - 1):
        disturbed = sensitivities * np.exp(generator.normal(0.0, _SPREAD, size=len(sensitivities)))
        plans.append(_descend(space, disturbed, violation))
    return np.unique(np.stack(plans), axis=0)


def greedy_path(space: WidthSpace, sensitivities: Array, cost: Callable[[Genes], Array]) -> Genes:
    """Return the genes of a whole descent from the full network to the smallest, `[plans, genes]`.

    Args:
        space: The widths.
        sensitivities: From `group_sensitivities`.
        cost: From genes `[plans, genes]` to what narrowing is to take away, `[plans]`.
    """
    genes = np.array([len(choices) - 1 for choices in space.choices])
    path = [genes]
    for _ in range(int(genes.sum())):
        genes = _step(space, sensitivities, genes, cost)
        path.append(genes)
    return np.stack(path)


def _descend(space: WidthSpace, sensitivities: Array, violation: Callable[[Genes], Array]) -> npt.NDArray[np.int64]:
    genes = np.array([len(choices) - 1 for choices in space.choices])
    for _ in range(int(genes.sum())):
        if float(violation(genes[None])[0]) <= 0:
            break
        genes = _step(space, sensitivities, genes, violation)
    return genes


def _step(
    space: WidthSpace, sensitivities: Array, genes: npt.NDArray[np.int64], cost: Callable[[Genes], Array]
) -> npt.NDArray[np.int64]:
    """Narrow the group that loses least for what it saves."""
    movable = np.flatnonzero(genes > 0)
    steps = np.repeat(genes[None], len(movable), axis=0)
    steps[np.arange(len(movable)), movable] -= 1
    costs = cost(np.vstack([genes[None], steps]))
    gained = np.maximum(costs[0] - costs[1:], 1e-12)
    lost = [_rise(space, sensitivities, int(group), int(genes[group])) for group in movable]
    narrowed: npt.NDArray[np.int64] = steps[int(np.argmin(np.array(lost) / gained))]
    return narrowed


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
