"""The soft-target loss, which the included tasks are made with, under the name of a distillation loss."""

from edgekd.tasks.soft_target import soft_target

__all__ = ["soft_target"]
