"""Fit the cost models in `profiles/` to published measurements, and write the page about them.

Example:
    python tools/fit_profiles.py --device-data ../shared/device-data

Running it twice writes the same bytes. Beside each TOML a CSV has every network with what was measured and what
fits that had not seen it predict, so that anyone can check the errors.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from profile_fitting import boards_mlperf, boards_ncnn, boards_tensorrt, write
from profile_fitting.document import to_markdown
from profile_fitting.fit import Fitted, fit_profile
from profile_fitting.profile import Profile

from edgekd.hardware.cost import CostModel

_CHECKOUT = Path(__file__).resolve().parents[1]


def profiles(folder: Path) -> Iterator[Profile]:
    """Yield all profiles to fit to the measurements in a folder."""
    yield from boards_tensorrt.profiles(folder)
    yield from boards_ncnn.cpu_profiles(folder)
    yield from boards_ncnn.vulkan_profiles(folder)
    yield from boards_mlperf.profiles(folder)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit every profile and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device-data", type=Path, default=_CHECKOUT.parent / "shared" / "device-data")
    parser.add_argument("--out", type=Path, default=_CHECKOUT / "profiles", help="the folder to write to")
    parser.add_argument("--page", type=Path, default=_CHECKOUT / "docs" / "profiles.md", help="the page to write")
    parser.add_argument("--only", metavar="TARGET", help="profiles of this target only, and no page")
    options = parser.parse_args(arguments)
    fitted: list[Fitted] = []
    for profile in profiles(options.device_data):
        if options.only in (None, profile.target):
            fitted.append(fit_profile(profile))
            if profile.left_out is None:
                _write(options.out, fitted[-1])
            print(_summary(fitted[-1].model), flush=True)
    if options.only is None:
        options.page.write_text(to_markdown(fitted), encoding="utf-8")


def _write(folder: Path, fitted: Fitted) -> None:
    place = folder / fitted.model.target
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{fitted.model.file_stem}.toml").write_text(write.to_toml(fitted.model), encoding="utf-8")
    (place / f"{fitted.model.file_stem}.csv").write_text(write.to_csv(fitted), encoding="utf-8")


def _summary(model: CostModel) -> str:
    error, tried = model.error, ", ".join(f"{name} {median:.1%}" for name, median in model.forms_tried)
    text = (
        f"{model.target} {model.file_stem}: {error.networks} networks, {error.families} families, "
        f"{error.median_leave_one_out:.1%} LOO ({model.median_form_chosen_unseen:.1%} form unseen), "
        f"{error.median_leave_family_out:.1%} family, rank {error.spearman_leave_one_out:.3f} "
        f"{error.spearman_leave_family_out:.3f}, interval holds {error.interval_coverage:.0%}; {tried}"
    )
    if model.energy is not None:
        chain = model.energy.error
        text += (
            f"\n    energy {model.energy.median_given_measured_latency:.1%} given latency, "
            f"{chain.median_leave_one_out:.1%} LOO, {chain.median_leave_family_out:.1%} family, "
            f"interval holds {chain.interval_coverage:.0%}"
        )
    return text


if __name__ == "__main__":
    main()
