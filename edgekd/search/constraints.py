"""What a user forbids a search: groups that keep their width, groups that go together, a least width."""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from edgekd.errors import RecipeError, UnknownNameError
from edgekd.records import ChannelGroup
from edgekd.search.space import WidthSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """Names and patterns are those of groups, or of layers that make a group's channels.

    Attributes:
        freeze: Groups that keep their width.
        ties: Sets of groups, with commas between, that keep the same share of their widths.
        min_width: The least share of its width that a group keeps.
    """

    freeze: tuple[str, ...] = ()
    ties: tuple[str, ...] = ()
    min_width: float = 0.0


def constrain(space: WidthSpace, groups: tuple[ChannelGroup, ...], constraints: Constraints) -> WidthSpace:
    """Return the space with only the plans that keep the constraints.

    Args:
        space: A choice of widths for each prunable group, without ties.
        groups: All groups of the network.
        constraints: What to keep.

    Raises:
        UnknownNameError: A pattern matches no group or layer.
        RecipeError: A tie is of one group, or of groups that have no share but the whole in common; or no group is
            left that could get narrower.
    """
    frozen = {name for pattern in constraints.freeze for name in _matching(groups, pattern, "--freeze")}
    choices = [
        tuple(w for w in known if w == known[-1] or (name not in frozen and w >= constraints.min_width * known[-1]))
        for name, known in zip(space.names, space.choices, strict=True)
    ]
    sets = _merged(_tied(space, groups, tie) for tie in constraints.ties)
    for tied in sets:
        _equalize(choices, tied, space.names)
    leaders = {group: min(tied) for tied in sets for group in tied}
    genes = [group for group in range(len(space.names)) if leaders.get(group, group) == group]
    constrained = dataclasses.replace(
        space,
        choices=tuple(choices[group] for group in genes),
        gene_of=tuple(genes.index(leaders.get(group, group)) for group in range(len(space.names))),
        group_choices=tuple(choices),
    )
    if _is_rigid(constrained) and not _is_rigid(space):
        raise RecipeError(
            "--freeze, --tie, --min-width",
            expected="at least one group that may get narrower",
            found=f"none of the {len(space.names)}",
            hint="Freeze fewer groups, or lower --min-width; `edgekd inspect` shows the groups.",
        )
    return constrained


def _matching(groups: Iterable[ChannelGroup], pattern: str, where: str) -> list[str]:
    """The names of the groups that a pattern means, by their own name or that of a layer that makes their channels."""
    makers = {group.name: [m.removesuffix(".out") for m in group.members if m.endswith(".out")] for group in groups}
    found = [
        name for name, layers in makers.items() if any(fnmatch.fnmatchcase(known, pattern) for known in (name, *layers))
    ]
    if not found:
        layers = {layer for made in makers.values() for layer in made}
        raise UnknownNameError(where, pattern, {*makers, *difflib.get_close_matches(pattern, layers, n=1, cutoff=0.5)})
    return found


def _tied(space: WidthSpace, groups: tuple[ChannelGroup, ...], tie: str) -> set[int]:
    """The positions of the groups that a tie means; groups that are left whole anyway are none of them."""
    names = {name for pattern in tie.split(",") for name in _matching(groups, pattern.strip(), f"--tie {tie}")}
    tied = {position for position, name in enumerate(space.names) if name in names}
    if len(tied) < 2:
        raise RecipeError(
            f"--tie {tie}",
            expected="two groups that can be narrowed, or more",
            found=", ".join(space.names[position] for position in tied) or "none",
            hint="Put commas between groups: A,B.",
        )
    return tied


def _merged(sets: Iterable[set[int]]) -> list[set[int]]:
    """Join sets that have a member in common."""
    merged: list[set[int]] = []
    for joined in sets:
        apart = [other for other in merged if not other & joined]
        merged = [*apart, joined.union(*(other for other in merged if other & joined))]
    return merged


def _equalize(choices: list[tuple[int, ...]], tied: set[int], names: tuple[str, ...]) -> None:
    """Leave tied groups only the widths whose share of the full one all of them have."""
    shares = [{Fraction(width, choices[group][-1]) for width in choices[group]} for group in tied]
    common = set.intersection(*shares)
    could_narrow = all(len(found) > 1 for found in shares)
    if len(common) == 1 and could_narrow:
        told = "; ".join(f"{names[group]} has widths {_listed(choices[group])}" for group in sorted(tied))
        raise RecipeError(
            "--tie",
            expected="groups that have a share of their widths in common",
            found=told,
            hint="Untie them, or freeze them all.",
        )
    for group in tied:
        choices[group] = tuple(w for w in choices[group] if Fraction(w, choices[group][-1]) in common)


def _listed(widths: tuple[int, ...]) -> str:
    return ", ".join(map(str, widths))


def _is_rigid(space: WidthSpace) -> bool:
    return all(len(choices) == 1 for choices in space.choices)
