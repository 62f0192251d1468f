"""Devices: what they can do (`target`) and what a network costs on them (`cost`).

Only `target` is re-exported here: `edgekd targets` must start without numpy, which `cost` needs.
"""

from edgekd.hardware.target import load_target, target_names

__all__ = ["load_target", "target_names"]
