from __future__ import annotations

import pytest

from edgekd.errors import RecipeError, UnknownNameError
from edgekd.records import ChannelGroup
from edgekd.search.constraints import Constraints, constrain
from edgekd.search.space import WidthSpace


def group(name: str, units: int, *layers: str, prunable: bool = True) -> ChannelGroup:
    members = (*(f"{layer}.out" for layer in (name, *layers)), "reader.in")
    return ChannelGroup(name=name, units=units, members=members, prunable=prunable)


# A stem with the stream of its stage, two hidden layers, and logits that stay whole.
GROUPS = (group("stem", 32, "layer1.0.conv2"), group("layer1.0.conv1", 32), group("layer2.0.conv1", 64))
GROUPS += (group("head", 10, prunable=False),)
SPACE = WidthSpace(
    names=("stem", "layer1.0.conv1", "layer2.0.conv1"),
    choices=((8, 16, 24, 32), (8, 16, 24, 32), (8, 16, 24, 32, 40, 48, 56, 64)),
)


@pytest.mark.parametrize(
    ("patterns", "frozen"),
    [
        (("stem",), {"stem"}),
        (("layer1.0.conv2",), {"stem"}),
        (("*.conv1",), {"layer1.0.conv1", "layer2.0.conv1"}),
        (("layer1.*",), {"stem", "layer1.0.conv1"}),
        (("layer?.0.conv1", "stem"), {"stem", "layer1.0.conv1", "layer2.0.conv1"}),
        (("head",), set()),
    ],
)
def test_a_group_is_frozen_by_its_name_or_that_of_a_layer_that_makes_its_channels(
    patterns: tuple[str, ...], frozen: set[str]
) -> None:
    if len(frozen) == len(SPACE.names):
        with pytest.raises(RecipeError, match="none of the 3") as caught:
            constrain(SPACE, GROUPS, Constraints(freeze=patterns))
        assert "--freeze" in caught.value.where
        return
    found = constrain(SPACE, GROUPS, Constraints(freeze=patterns))
    for name, before, after in zip(SPACE.names, SPACE.choices, found.choices, strict=True):
        assert after == (before[-1:] if name in frozen else before)


@pytest.mark.parametrize(("least", "choices"), [(0.0, 4), (0.25, 4), (0.26, 3), (0.5, 3), (0.51, 2), (0.76, 1)])
def test_the_least_width_is_a_share_of_each_groups_own(least: float, choices: int) -> None:
    # Of 32: 8, 16, 24, 32 are 0.25, 0.5, 0.75 and 1. Of 64 there are finer shares, one of which is 0.875.
    found = constrain(SPACE, GROUPS, Constraints(min_width=least))
    assert [len(found.choices[0]), len(found.choices[1])] == [choices, choices]
    assert all(width >= least * known[-1] for known in found.choices for width in known)


def test_tied_groups_have_one_gene_and_the_shares_that_all_of_them_have() -> None:
    found = constrain(SPACE, GROUPS, Constraints(ties=("layer1.0.conv1, layer2.0.conv1",)))
    assert found.names == SPACE.names
    assert found.gene_of == (0, 1, 1)
    assert found.choices == ((8, 16, 24, 32), (8, 16, 24, 32))
    assert found.group_choices[2] == (16, 32, 48, 64)
    assert found.widths(found.uniform(0.5)[None]).tolist() == [[16, 16, 32]]


def test_ties_that_share_a_group_are_one_and_a_frozen_group_freezes_what_is_tied_to_it() -> None:
    ties = ("stem,layer1.0.conv1", "layer1.0.conv1,layer2.0.conv1")
    assert constrain(SPACE, GROUPS, Constraints(ties=ties)).gene_of == (0, 0, 0)
    assert constrain(SPACE, GROUPS, Constraints(ties=("*.conv?",))).gene_of == (0, 0, 0)
    frozen = constrain(SPACE, GROUPS, Constraints(ties=ties[1:], freeze=("layer2.*",)))
    assert frozen.group_choices == ((8, 16, 24, 32), (32,), (64,))


def test_no_constraint_changes_nothing() -> None:
    assert constrain(SPACE, GROUPS, Constraints()) == SPACE


def test_a_space_that_was_rigid_before_is_no_fault_of_the_constraints() -> None:
    rigid = WidthSpace(names=("stem",), choices=((6,),))
    assert constrain(rigid, (group("stem", 6),), Constraints(freeze=("stem",))) == rigid


def test_tied_groups_without_a_share_in_common_are_shown_with_their_widths() -> None:
    space = WidthSpace(names=("a", "b"), choices=((8, 12), (8, 16, 24, 32)))
    with pytest.raises(RecipeError, match="a has widths 8, 12; b has widths 8, 16, 24, 32"):
        constrain(space, (group("a", 12), group("b", 32)), Constraints(ties=("a,b",)))


@pytest.mark.parametrize("tie", ["stem", "stem,head", "stem,stem", "head"])
def test_a_tie_is_of_two_groups_that_can_be_narrowed(tie: str) -> None:
    with pytest.raises(RecipeError, match="two groups that can be narrowed") as caught:
        constrain(SPACE, GROUPS, Constraints(ties=(tie,)))
    assert caught.value.where == f"--tie {tie}"


@pytest.mark.parametrize(
    ("constraints", "near"),
    [
        (Constraints(freeze=("steam",)), "stem"),
        (Constraints(freeze=("layer1.0.conv22",)), "layer1.0.conv2"),
        (Constraints(ties=("stem,layer2.0.conv",)), "layer2.0.conv1"),
        (Constraints(ties=("stem,",)), None),
    ],
)
def test_a_name_that_matches_nothing_is_refused_with_the_nearest(constraints: Constraints, near: str | None) -> None:
    with pytest.raises(UnknownNameError) as caught:
        constrain(SPACE, GROUPS, constraints)
    assert "Known: head, layer1.0.conv1" in caught.value.hint
    assert near is None or f"Did you mean '{near}'?" in caught.value.hint
