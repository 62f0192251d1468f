"""Losses of other packages: found, refused when they collide, named when they are broken."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from packages import install

from edgekd.distill.losses import LOSSES, Loss, Seen, Side, make_loss
from edgekd.errors import MissingDependencyError, UnknownNameError

COSINE = """
import torch
from edgekd.distill.losses import Loss

class Cosine(Loss):
    name = "cosine"

    def __init__(self, *, power: float = 1.0) -> None:
        super().__init__()
        self.power = power

    def distance(self, seen):
        return (1 - torch.cosine_similarity(seen.student.outputs, seen.teacher.outputs)) ** self.power
"""


def test_a_loss_of_another_package_is_found_with_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "losses_of_mine", "[edgekd.losses]\ncosine = losses_of_mine:Cosine\n", COSINE)
    assert "cosine" in LOSSES.names()
    loss = make_loss("cosine", {"power": 2}, "test")
    sides = [Side(outputs=torch.tensor([[1.0, 0.0]])), Side(outputs=torch.tensor([[0.0, 2.0]]))]
    assert loss(Seen(student=sides[0], teacher=sides[1], targets=torch.tensor([0]))).tolist() == [1.0]


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("hint = losses_of_mine:Cosine", "'losses_of_mine:Cosine', EdgeKD itself"),
        ("other = losses_of_mine:Cosine", "an object of another name"),
        ("absent = losses_of_mine:Sine", "AttributeError"),
    ],
)
def test_a_package_that_collides_or_is_broken_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str, told: str
) -> None:
    install(tmp_path, monkeypatch, "losses_of_mine", f"[edgekd.losses]\n{entry}\n", COSINE)
    with pytest.raises(MissingDependencyError) as caught:
        LOSSES.load(entry.split()[0], "test")
    assert told in caught.value.found


def test_a_name_is_registered_once_and_an_unknown_one_suggests_the_nearest() -> None:
    class Again(Loss):
        name = "hint"

    with pytest.raises(ValueError, match="'hint' already"):
        LOSSES.register(Again)
    with pytest.raises(UnknownNameError, match="Did you mean 'soft-target'"):
        LOSSES.load("soft-targets", "test")


def test_a_loss_that_needs_a_missing_library_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ot" else found(name))
    with pytest.raises(MissingDependencyError, match=r"edgekd\[transport\]"):
        make_loss("wasserstein-sinkhorn", {}, "test")
