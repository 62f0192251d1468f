"""Where the target and profile files lie: inside the installed wheel, or at the top of a checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def data_folder(kind: Literal["targets", "profiles"]) -> Path:
    """Return the folder of target or profile files that belongs to this copy of EdgeKD.

    A wheel carries them in `edgekd/_data/`; in a checkout they stand beside the package.
    """
    package = Path(__file__).resolve().parents[1]
    installed = package / "_data" / kind
    return installed if installed.is_dir() else package.parent / kind
