"""Which table or cost model predicts for a processor: the user's own measurements before what comes with EdgeKD."""

from __future__ import annotations

from pathlib import Path

from edgekd.errors import ProfileError
from edgekd.hardware.data import data_folder, users_profiles
from edgekd.hardware.measured import MeasuredTable
from edgekd.hardware.profile import CostModel, read_profile
from edgekd.hardware.table_files import read_table
from edgekd.records import Precision

LatencyModel = CostModel | MeasuredTable


def load_cost_model(
    target: str,
    processor: str,
    precision: Precision,
    *,
    runtime: str | None = None,
    threads: int | None = None,
    folder: Path | None = None,
) -> LatencyModel | None:
    """Return the user's measured table, or else the fitted model that comes with EdgeKD, or `None` without either.

    Of several tables that agree with what is asked for, that of most threads is returned; of several fitted models
    the preferred one, and where that is not among them the one of most threads.

    Args:
        target: Name of the target.
        processor: Its kind, `cpu` or `gpu`.
        precision: Of the network that runs there.
        runtime: Only that one, such as `ncnn`.
        threads: Only measurements with as many.
        folder: Of tables and fitted models, if not the user's own and those that come with EdgeKD.

    Raises:
        ProfileError: A file is there and wrong, or not exactly one fitted model is preferred; the message names the
            key.
    """

    def accepts(model: LatencyModel) -> bool:
        return runtime in (None, model.runtime) and threads in (None, model.threads)

    name = f"{processor}-{precision}-*.toml"
    own = sorted(((folder or users_profiles()) / target).glob(name))
    tables = [table for table in (read_table(path) for path in own if not _is_fitted(path)) if accepts(table)]
    if tables:
        return max(tables, key=lambda table: table.threads)
    place = (folder or data_folder("profiles")) / target
    models = [read_profile(path) for path in sorted(place.glob(name)) if _is_fitted(path)]
    if models:
        _require_one_preferred(place, models)
    return max(filter(accepts, models), key=lambda model: (model.is_preferred, model.threads or 0), default=None)


def _is_fitted(path: Path) -> bool:
    """Tables and fitted models have names of one form; the TOML says which it is."""
    try:
        return 'origin = "fitted"' in path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return False  # `read_table` says what is wrong


def _require_one_preferred(place: Path, models: list[CostModel]) -> None:
    preferred = [model.file_stem for model in models if model.is_preferred]
    if len(preferred) != 1:
        raise ProfileError(
            f"{place}, key 'preferred'",
            expected=f"exactly one preferred profile among those of the {models[0].processor} in {models[0].precision}",
            found=", ".join(preferred) or "none",
            hint="Set 'preferred = true' in one of them and false in the others.",
        )
