"""Where target and profile files lie: in the installed wheel or at the top of a checkout; and the user's own tables."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal


def data_folder(kind: Literal["targets", "profiles"]) -> Path:
    """Return the folder of target or profile files that belongs to this copy of EdgeKD.

    A wheel carries them in `edgekd/_data/`; in a checkout they stand beside the package.
    """
    package = Path(__file__).resolve().parents[1]
    installed = package / "_data" / kind
    return installed if installed.is_dir() else package.parent / kind


def users_profiles() -> Path:
    """Return where a user's tables lie: EDGEKD_PROFILES, or edgekd/profiles in the user's data folder."""
    named = os.environ.get("EDGEKD_PROFILES")
    if named:
        return Path(named)
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "edgekd" / "profiles"
