"""The costs of whole populations by looking them up.

Every cost of a plan is a sum over operators, and an operator's part depends on the widths of the groups it reads and
writes: mostly one or two. So the parts of all operators between the same two groups are summed once for every pair of
widths, and a plan's cost is one entry of each of these tables. Only operators of three groups and more (some
concatenations) are computed plan by plan.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from itertools import product

import numpy as np
import numpy.typing as npt

from edgekd.hardware.operators import Operators

Floats = npt.NDArray[np.float64]
Widths = npt.NDArray[np.int64]
# From operators to what each of them costs in each plan, `[plans, layers]`.
PartFunction = Callable[[Operators], npt.NDArray[np.number]]
_MOST_GROUPS = 2


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearOperators:
    """A network's operators for any widths: channel counts are `fixed + widths @ per_width`.

    Attributes:
        template: The operators of some plan; all but their channel counts hold for every plan.
        fixed: `[2, layers]`, of the channels read and made.
        per_width: `[2, groups, layers]`.
    """

    template: Operators
    fixed: npt.NDArray[np.int64]
    per_width: npt.NDArray[np.int64]

    @classmethod
    def of(cls, count: Callable[[Widths], Operators], groups: int) -> LinearOperators:
        """Return the form of a function from widths `[plans, groups]` to operators, which must be linear."""
        probes = np.vstack([np.zeros((1, groups), dtype=np.int64), np.eye(groups, dtype=np.int64)])
        operators = count(probes)
        sides = np.stack([operators.in_channels, operators.out_channels]).astype(np.int64)
        return cls(template=operators, fixed=sides[:, 0], per_width=sides[:, 1:] - sides[:, :1])

    def at(self, widths: Widths, layers: npt.NDArray[np.intp] | None = None) -> Operators:
        """Return the operators, or only some of them, for each row of `widths`."""
        chosen = np.arange(self.fixed.shape[1]) if layers is None else layers
        read, made = (self.fixed[side, chosen] + widths @ self.per_width[side][:, chosen] for side in (0, 1))
        old = self.template
        return Operators(
            names=tuple(old.names[layer] for layer in chosen),
            op=tuple(old.op[layer] for layer in chosen),
            kernel_area=old.kernel_area[chosen],
            stride=old.stride[chosen],
            groups=old.groups[chosen],
            in_pixels=old.in_pixels[chosen],
            out_pixels=old.out_pixels[chosen],
            inputs=old.inputs[chosen],
            in_channels=read,
            out_channels=made,
            variant=tuple(old.variant[layer] for layer in chosen),
            repeats=None if old.repeats is None else old.repeats[chosen],
        )

    def groups_of(self) -> list[tuple[int, ...]]:
        """Return for each operator the groups that its channels depend on."""
        depends = (self.per_width != 0).any(axis=0)
        return [tuple(int(group) for group in np.flatnonzero(depends[:, layer])) for layer in range(depends.shape[1])]


class CostTables:
    """Looks up the sums of several costs for plans of a space.

    Args:
        operators: The network's.
        choices: The widths each group may have, ascending.
        parts: The costs by their names.
    """

    def __init__(
        self, operators: LinearOperators, choices: tuple[tuple[int, ...], ...], parts: Mapping[str, PartFunction]
    ) -> None:
        self.names = tuple(parts)
        self._operators = operators
        self._parts = dict(parts)
        self._choices = [np.asarray(widths, dtype=np.int64) for widths in choices]
        self._full = np.array([widths[-1] for widths in choices], dtype=np.int64)
        layers: dict[tuple[int, ...], list[int]] = {}
        for layer, groups in enumerate(operators.groups_of()):
            layers.setdefault(groups, []).append(layer)
        self._many = [np.array(found) for groups, found in layers.items() if len(groups) > _MOST_GROUPS]
        few = {groups: np.array(found) for groups, found in layers.items() if len(groups) <= _MOST_GROUPS}
        self._constant = np.zeros(len(parts))
        self._tables: list[tuple[tuple[int, ...], Floats]] = []
        for groups, found in few.items():
            table = self._table(groups, found)
            if groups:
                self._tables.append((groups, table))
            else:
                self._constant += table[0]

    def look_up(self, widths: Widths) -> dict[str, Floats]:
        """Return each cost of each plan, `[plans]`; `widths` are among the choices, `[plans, groups]`."""
        positions = [np.searchsorted(known, widths[:, group]) for group, known in enumerate(self._choices)]
        totals = np.tile(self._constant, (len(widths), 1))
        for groups, table in self._tables:
            index = positions[groups[0]]
            for group in groups[1:]:
                index = index * len(self._choices[group]) + positions[group]
            totals += table.take(index, axis=0)
        for layers in self._many:
            totals += self._sums(self._operators.at(widths, layers))
        return {name: totals[:, column] for column, name in enumerate(self.names)}

    def _table(self, groups: tuple[int, ...], layers: npt.NDArray[np.intp]) -> Floats:
        """Return the sums over some operators for all widths of their groups, those of the last running fastest."""
        combinations = list(product(*(self._choices[group] for group in groups)))
        widths = np.tile(self._full, (len(combinations), 1))
        if groups:
            widths[:, groups] = np.array(combinations)
        return self._sums(self._operators.at(widths, layers))

    def _sums(self, operators: Operators) -> Floats:
        return np.stack([self._parts[name](operators).sum(axis=1) for name in self.names], axis=1).astype(np.float64)
