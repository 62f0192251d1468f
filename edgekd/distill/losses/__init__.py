"""Distillation losses, one file each; every loss returns one value per example."""

from edgekd.distill.losses.base import LOSSES, Depth, Loss, Reads, Seen, Side, make_loss

__all__ = ["LOSSES", "Depth", "Loss", "Reads", "Seen", "Side", "make_loss"]
