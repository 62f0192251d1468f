"""From an exported program to a network of real modules."""

from edgekd.models.rewrite.program import rebuild

__all__ = ["rebuild"]
