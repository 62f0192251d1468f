"""Write fitted cost models as TOML and their held-out predictions as CSV, with what a reader must know of them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence

from profile_fit import Evaluation, Floats, latency_features
from profile_sources import Measured

from edgekd.hardware.cost import CostModel
from edgekd.hardware.operators import FEATURES, MAC_FEATURES
from edgekd.hardware.profile import Bounds, Check, Coverage, HeldOutError

SOURCE_MLPERF = (
    "MLPerf Inference v2.0 and v2.1 results, submitter Krai, https://github.com/mlcommons/inference_results_v2.0 "
    "(commit 425a0d30c6e0) and inference_results_v2.1, Apache-2.0. Latencies and energies were computed from the "
    "published logs and are not MLPerf results; MLPerf is a trademark of MLCommons."
)
SOURCE_NCNN = "Tencent/ncnn, benchmark/README.md (commit a4d2ea1d4422), https://github.com/Tencent/ncnn, BSD-3-Clause"
SOURCE_SLIM = (
    "NVIDIA-AI-IOT/tf_to_trt_image_classification, README.md (commit 10822955cd9d), "
    "https://github.com/NVIDIA-AI-IOT/tf_to_trt_image_classification, BSD-3-style"
)
SOURCE_HW_NAS_BENCH = (
    "Li et al., HW-NAS-Bench, ICLR 2021, https://arxiv.org/abs/2103.10584; values printed in example.ipynb of "
    "https://github.com/GATECH-EIC/HW-NAS-Bench (commit 393bb8a02554), MIT"
)
SOURCE_HELP = (
    "Lee et al., HELP, NeurIPS 2021, https://arxiv.org/abs/2106.08630; Raspberry Pi 4 latencies of NAS-Bench-201 "
    "in https://github.com/HayeonLee/HELP (commit 45f70eb92d0d), MIT"
)

NOTE_RUNTIME = (
    "Measured in another runtime than the artifact's ONNX Runtime; the interval covers unseen networks, not the "
    "difference between runtimes. The checks show how far other runtimes on the same board are."
)
NOTE_THREADS = "The logs do not say how many threads ran; all four cores is likely."
NOTE_RPI4_SPATIAL_FP32 = (
    "Only ResNet-50 has convolutions wider than 1x1 behind the first layer, so they share one rate with the 1x1 "
    "ones. That rate, fitted without ResNet-50, predicts it to the error in the CSV. Networks made of such "
    "convolutions count as extrapolated."
)
NOTE_RPI4_SPATIAL_INT8 = (
    "No network has convolutions wider than 1x1 behind the first layer. They are given the rate of the 1x1 ones, "
    "an assumption tested only by the ncnn check, and networks that have them count as extrapolated. "
    "Small networks were not measured in int8; the interval of extrapolated networks is no narrower than in fp32."
)
NOTE_RPI4_NAS_BENCH = (
    "The CIFAR-size NAS-Bench-201 networks took more than twice as long as this model says, in TFLite with an "
    "unstated number of threads (one is likely). They are not in the fit: their absolute times belong to another "
    "setting. After one common factor they show what the model is worth on small networks (their own labels "
    "scatter by 8 %). The interval of extrapolated networks reaches up to them."
)
NOTE_TENSORRT = (
    "TensorRT 3 of 2018, whose depthwise convolutions were slow; a current TensorRT differs, most of all there."
)
NOTE_COPIES = "The latencies of the 14 ImageNet networks include the copies to and from the GPU."
NOTE_TX2_ENERGY = (
    "The energy rests on three NAS-Bench-201 architectures at three input sizes, with 3 to 9 power samples each. "
    "It describes small networks that keep the GPU waiting for launches; larger ones draw more power."
)
NOTE_TX2_FP16_LAUNCHES = (
    "The time of launches is taken from the fp32 profile, which has small networks where it shows: MobileNet v1 at "
    "the small end takes the same time in both precisions in the same table (2.67 and 2.65 ms, 3.95 and 4.00 ms)."
)
NOTE_TX2_FP16_ENERGY = (
    "Nobody published fp16 energy for this module. The numbers are the fp32 energy coefficients with the fp16 "
    "latency, likely too high, and always count as extrapolated."
)
NOTE_TX2_NX = (
    "Measured on the TX2 NX (Denver 2 and Cortex-A57 at 2.0 GHz), not on the TX2 module, whose clocks and power "
    "limits differ. One thread; the table does not say which kind of core ran it. Energy was not published."
)
NOTE_TX2_INT8 = (
    "Six int8 networks were measured, too few for rates of their own: the fp32 coefficients times the median ratio "
    "of int8 to fp32. The cores have no dot product, and int8 was slower than fp32 for all six."
)


def to_toml(model: CostModel) -> str:
    """Return a profile file."""
    lines = ["# Written by tools/fit_profiles.py; do not edit.", "schema_version = 1"]
    lines += [f"{name} = {_quote(getattr(model, name))}" for name in ("target", "processor", "precision")]
    lines += ['origin = "fitted"', f"runtime = {_quote(model.runtime)}", f"measured_on = {_quote(model.measured_on)}"]
    if model.threads is not None:
        lines.append(f"threads = {model.threads}")
    lines += _list("notes", model.notes) + _list("sources", model.sources)
    lines += ["", "[latency.coefficients] # microseconds for each unit of the feature"]
    lines += [f"{key} = {_number(v)}" for key, v in zip(FEATURES, model.coefficients_us, strict=True)]
    lines += _coverage("latency", model.coverage) + _error("latency", model.error)
    if model.energy is not None:
        energy = model.energy
        lines += ["", "[energy]", f"includes = {_quote(energy.includes)}"]
        lines.append(f"measured_precision = {_quote(energy.measured_precision)}")
        for name in ("power_w", "uj_per_gmac", "uj_per_melement", "median_given_measured_latency"):
            lines.append(f"{name} = {_number(getattr(energy, name))}")
        lines += _coverage("energy", energy.coverage) + _error("energy", energy.error)
    for check in model.checks:
        lines += ["", "[[checks]]", f"data = {_quote(check.data)}", f"networks = {check.networks}"]
        for name in ("median_error", "factor", "median_error_after_factor", "spearman"):
            lines.append(f"{name} = {_number(getattr(check, name))}")
    return "\n".join(lines) + "\n"


def _coverage(table: str, coverage: Coverage) -> list[str]:
    lines = ["", f"[{table}.coverage] # what the networks of the fit span"]
    lines += [f"gmacs = {_pair(coverage.gmacs)}", f"latency_us = {_pair(coverage.latency_us)}"]
    lines += ["", f"[{table}.coverage.max_share] # of a network's MACs"]
    return lines + [f"{name} = {_number(share)}" for name, share in coverage.max_share]


def _error(table: str, error: HeldOutError) -> list[str]:
    lines = ["", f"[{table}.error] # of predictions for networks that the fit had not seen"]
    lines += [f"networks = {error.networks}", f"families = {error.families}"]
    for name in ("median_leave_one_out", "median_leave_family_out", "spearman_leave_family_out"):
        lines.append(f"{name} = {_number(getattr(error, name))}")
    lines.append(f"interval_log = {_pair(error.interval_log)} # of ln(measured / predicted), family held out")
    lines.append(f"interval_widening = {_number(error.interval_widening)}")
    lines.append(f"interval_coverage = {_number(error.interval_coverage)}")
    return [*lines, f"outside_log = {_pair(error.outside_log)} # beyond the span above"]


def _number(value: float) -> str:
    # Five digits are more than any of these measurements has, and keep the file the same on every machine.
    return f"{value:.5g}"


def _pair(bounds: Bounds) -> str:
    return f"[{_number(bounds[0])}, {_number(bounds[1])}]"


def _quote(value: str) -> str:
    return json.dumps(value)  # a JSON string of plain text is a TOML string


def _list(name: str, values: Sequence[str]) -> list[str]:
    return [f"{name} = [", *(f"    {_quote(value)}," for value in values), "]"]


def to_csv(
    networks: Sequence[Measured],
    latency: Evaluation,
    energy_networks: Sequence[Measured],
    energy_leave_family_out: Floats | None,
) -> str:
    """Return the networks with what was measured and what held-out fits predict, a line for each quantity."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        ["quantity", "network", "family", "gmacs", "measured", "leave_one_out", "leave_family_out"],
    )
    for index, network in enumerate(networks):
        predicted = (latency.leave_one_out[index], latency.leave_family_out[index])
        writer.writerow(_line("latency_us", network, network.latency_us, *map(_number, map(float, predicted))))
    if energy_leave_family_out is not None:
        for network, value in zip(energy_networks, energy_leave_family_out, strict=True):
            measured = network.energy_uj if network.energy_uj is not None else 0.0
            writer.writerow(_line("energy_uj", network, measured, "", _number(float(value))))
    return file.getvalue()


def _line(quantity: str, network: Measured, measured: float, *predicted: str) -> list[str]:
    gmacs = float(latency_features([network])[0, : len(MAC_FEATURES)].sum())
    return [quantity, network.name, network.family, _number(gmacs), _number(measured), *predicted]


def summary(model: CostModel) -> str:
    """Return one line for each quantity of a profile."""
    name = f"{model.target} {model.processor} {model.precision}"
    lines = [f"{name:22} latency {_summarize(model.error)}"]
    if model.energy is not None:
        given = model.energy.median_given_measured_latency
        lines.append(f"{name:22} energy  {_summarize(model.energy.error)}, {given:.1%} given the latency")
    return "\n".join([*lines, *map(_summarize_check, model.checks)])


def _summarize_check(check: Check) -> str:
    return (
        f"{'':22} check   {check.data}: {check.median_error:.1%} raw, factor {check.factor:.2f}, "
        f"then {check.median_error_after_factor:.1%}, rank correlation {check.spearman:.2f}"
    )


def _summarize(error: HeldOutError) -> str:
    return (
        f"{error.networks} networks, {error.families} families, median error {error.median_leave_one_out:.1%} LOO, "
        f"{error.median_leave_family_out:.1%} unseen family, rank correlation {error.spearman_leave_family_out:.2f}, "
        f"interval holds {error.interval_coverage:.0%}"
    )
