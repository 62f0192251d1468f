"""Distillation losses, one file each; every loss returns one value per example."""
