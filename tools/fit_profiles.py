"""Fit the cost models in `profiles/` to published measurements.

Example:
    python tools/fit_profiles.py --device-data ../shared/device-data

Running it twice writes the same bytes. Beside each TOML a CSV has every network with what was measured and what
fits that had not seen it predict, so that anyone can check the errors.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import profile_fit as fitting
import profile_sources as sources
import profile_text as text
from profile_fit import Evaluation, Floats, Networks, Ties

from edgekd.hardware.cost import CostModel, EnergyModel
from edgekd.hardware.profile import Check
from edgekd.records import Precision

_CHECKOUT = Path(__file__).resolve().parents[1]

# Which features share a rate. More rates than these fitted the networks at hand better and unseen families worse.
_DENSE = ("pointwise_gmacs", "spatial_gmacs", "stem_gmacs", "linear_gmacs")
_SINGLE = (("depthwise_gmacs",), ("activation_melements",), ("compute_launches",), ("other_launches",))
_TENSORRT_FP32: Ties = (_DENSE, ("depthwise_gmacs",), ("compute_launches",), ("other_launches",))
# The launches of fp16 are those of fp32.
_TENSORRT_FP16: Ties = (_DENSE, ("depthwise_gmacs",), ("activation_melements",))
_TFLITE: Ties = (("pointwise_gmacs", "spatial_gmacs", "linear_gmacs"), ("stem_gmacs",), *_SINGLE)
_NCNN: Ties = tuple(
    (name,)
    for name in (
        "pointwise_gmacs",
        "spatial_gmacs",
        "stem_gmacs",
        "depthwise_gmacs",
        "linear_gmacs",
        "activation_melements",
        "compute_launches",
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What is known of a profile before it is fitted."""

    target: str
    processor: str
    precision: Precision
    runtime: str
    measured_on: str
    threads: int | None
    notes: tuple[str, ...]
    sources: tuple[str, ...]
    networks: Networks
    fit: Callable[[Networks, Networks], Floats]
    # Measured in another precision; the second argument of `fit`.
    base: Networks = ()
    checks: tuple[tuple[str, Networks], ...] = ()
    # Other networks and runtimes on the same board, which bound the error outside the covered range.
    outside: tuple[Networks, ...] = ()
    # The same, as ln(measured / predicted), from another precision of the same processor.
    outside_logs: tuple[Floats, ...] = ()
    energy: Networks = ()
    energy_includes: str = ""
    energy_precision: Precision = "fp32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A cost model and the held-out predictions behind its errors."""

    model: CostModel
    latency: Evaluation
    energy_leave_family_out: Floats | None


def fit_profile(profile: Profile) -> Fitted:
    """Return the fit to a profile's measurements."""
    networks = profile.networks
    families = [network.family for network in networks]

    def fit(seen: Networks) -> Floats:
        return profile.fit(seen, fitting.also_hidden(profile.base, seen, networks))

    latency = fitting.evaluate(networks, families, fit, fitting.predict_latency)
    outside = [fitting.outside_logs(networks, latency), *profile.outside_logs]
    for others in profile.outside:
        predicted = fitting.predict_latency(latency.coefficients, others)
        outside.append(fitting.log_ratio(fitting.latencies_us(others), predicted))
    energy, energy_predicted = None, None
    if profile.energy:
        energy, energy_predicted = _fit_energy(profile, outside)
    model = CostModel(
        target=profile.target,
        processor=profile.processor,
        precision=profile.precision,
        runtime=profile.runtime,
        measured_on=profile.measured_on,
        threads=profile.threads,
        coefficients_us=tuple(float(value) for value in latency.coefficients),
        coverage=fitting.coverage(networks),
        error=fitting.held_out_error(
            fitting.latencies_us(networks),
            families,
            latency.leave_one_out,
            latency.leave_family_out,
            outside,
        ),
        energy=energy,
        checks=_checks(profile, latency.coefficients),
        notes=profile.notes,
        sources=profile.sources,
    )
    return Fitted(model=model, latency=latency, energy_leave_family_out=energy_predicted)


def _checks(profile: Profile, coefficients: Floats) -> tuple[Check, ...]:
    return tuple(fitting.check(data, networks, coefficients) for data, networks in profile.checks)


def _fit_energy(profile: Profile, latency_outside: Sequence[Floats]) -> tuple[EnergyModel, Floats]:
    """Fit energy to measured latency, and test the chain with predicted latency, everything held out by family."""
    networks = profile.energy
    measured = fitting.energies_uj(networks)
    families = [network.family for network in networks]
    if len(set(families)) == 1:
        families = [network.architecture for network in networks]

    def fit(seen: Networks) -> Floats:
        columns = fitting.energy_columns(seen, fitting.latencies_us(seen))
        return fitting.relative_nnls(columns, fitting.energies_uj(seen))

    def given_latency(coefficients: Floats, out: Networks) -> Floats:
        columns = fitting.energy_columns(out, fitting.latencies_us(out))
        return np.asarray(columns @ coefficients)

    def whole_chain(key: Callable[[sources.Measured], str]) -> fitting.Predict:
        def predict(coefficients: Floats, out: Networks) -> Floats:
            hidden = {key(network) for network in out}
            seen = [network for network in profile.networks if key(network) not in hidden]
            base = [network for network in profile.base if key(network) not in hidden]
            latency = fitting.predict_latency(profile.fit(seen, base), out)
            return np.asarray(fitting.energy_columns(out, latency) @ coefficients)

        return predict

    # The rows of one architecture are nearly the same measurement, so they leave together.
    architectures = [network.architecture for network in networks]
    by_one = fitting.hold_out(networks, architectures, fit, whole_chain(lambda network: network.architecture))
    by_family = fitting.hold_out(networks, families, fit, whole_chain(lambda network: network.family))
    formula = fitting.hold_out(networks, families, fit, given_latency)
    power_w, uj_per_gmac, uj_per_melement = (float(value) for value in fit(networks))
    model = EnergyModel(
        includes=profile.energy_includes,
        measured_precision=profile.energy_precision,
        power_w=power_w,
        uj_per_gmac=uj_per_gmac,
        uj_per_melement=uj_per_melement,
        median_given_measured_latency=float(np.median(np.abs(formula / measured - 1))),
        coverage=fitting.coverage(networks),
        # Energy is power times latency: where latency is uncertain outside its range, energy is at least as much.
        error=fitting.held_out_error(measured, families, by_one, by_family, latency_outside),
    )
    return model, by_family


def rpi4_cpu(folder: Path, precision: Precision) -> Profile:
    """Return the Raspberry Pi 4's TFLite runs of MLPerf Inference v2.0, with wall power."""
    networks = sources.mlperf_rpi4(folder, runtime="TFLite v2.7.1 (ruy)", precision=precision, edition="v2.0")
    armnn = sources.mlperf_rpi4(folder, runtime="ArmNN v21.11 (Neon)", precision=precision, edition="v2.0")
    again = sources.mlperf_rpi4(folder, runtime="TFLite v2.7.1 (ruy)", precision=precision, edition="v2.1")
    ncnn = sources.ncnn(folder, board="Raspberry Pi 4B", threads=4, unit="cpu", precision=precision)
    outside = [armnn, ncnn]
    checks: list[tuple[str, Networks]] = [
        ("the same runtime in MLPerf v2.1: repeatability", again),
        ("ArmNN v21.11 (Neon), MLPerf v2.0", armnn),
        ("ncnn, 4 threads", ncnn),
    ]
    notes = [text.NOTE_RUNTIME, text.NOTE_THREADS]
    small = sources.nas_bench_rpi4(folder, every=20)
    outside_logs: list[Floats] = []
    if precision == "fp32":
        outside.append(small)
        checks.append(("NAS-Bench-201 (CIFAR-10), TFLite, threads not stated", small))
        notes += [text.NOTE_RPI4_SPATIAL_FP32, text.NOTE_RPI4_NAS_BENCH]
    else:
        notes.append(text.NOTE_RPI4_SPATIAL_INT8)
        # Small networks were measured in fp32 only, and int8 is not known better than that.
        in_fp32 = rpi4_cpu(folder, "fp32")
        predicted = fitting.predict_latency(in_fp32.fit(in_fp32.networks, ()), small)
        outside_logs.append(fitting.log_ratio(fitting.latencies_us(small), predicted))
    return Profile(
        target="rpi4",
        processor="cpu",
        precision=precision,
        runtime="TFLite v2.7.1 (ruy)",
        measured_on="Raspberry Pi 4B (Cortex-A72), MLPerf Inference v2.0, Krai, median of single-stream",
        threads=None,
        notes=tuple(notes),
        sources=(text.SOURCE_MLPERF, text.SOURCE_NCNN, text.SOURCE_HELP),
        networks=networks,
        fit=_tied(_TFLITE),
        checks=tuple(checks),
        outside=tuple(outside),
        outside_logs=tuple(outside_logs),
        energy=[network for network in networks if network.energy_uj is not None],
        energy_includes="wall power of the whole board with its power supply, idle power included",
        energy_precision=precision,
    )


def tx2_gpu(folder: Path, precision: Precision) -> Profile:
    """Return NVIDIA's TensorRT table for the Jetson TX2, with HW-NAS-Bench's small networks."""
    small = sources.nas_bench_tx2(folder)
    cifar = [network for network in small if network.name.endswith("cifar10")]
    vulkan = sources.ncnn(folder, board="NVIDIA Jetson TX2 NX", threads=1, unit="gpu", precision="fp16")
    notes = [text.NOTE_TENSORRT, text.NOTE_COPIES, text.NOTE_TX2_ENERGY]
    networks = [*sources.slim_tx2(folder, precision="fp32"), *cifar]
    base: list[sources.Measured] = []
    fit = _tied(_TENSORRT_FP32)
    if precision == "fp16":
        notes += [text.NOTE_TX2_FP16_LAUNCHES, text.NOTE_TX2_FP16_ENERGY]
        networks, base = sources.slim_tx2(folder, precision="fp16"), networks
        fit = _fit_tensorrt_fp16
    return Profile(
        target="jetson-tx2",
        processor="gpu",
        precision=precision,
        runtime="TensorRT 3.0.4" if precision == "fp16" else "TensorRT 3.0.4 (14 networks) and torch2trt (3)",
        measured_on="Jetson TX2, clocks and power mode not stated",
        threads=None,
        notes=tuple(notes),
        sources=(text.SOURCE_SLIM, text.SOURCE_HW_NAS_BENCH, text.SOURCE_NCNN),
        networks=networks,
        fit=fit,
        base=base,
        checks=(("ncnn Vulkan fp16 on the Jetson TX2 NX", vulkan),) if precision == "fp16" else (),
        energy=small,
        energy_includes="VDD_IN rail, the whole module without the carrier board",
    )


def _fit_tensorrt_fp16(networks: Networks, base: Networks) -> Floats:
    launches = fitting.fit_latency(base, _TENSORRT_FP32)
    return fitting.fit_with_launches(networks, _TENSORRT_FP16, launches)


def tx2_cpu(folder: Path, precision: Precision) -> Profile:
    """Return ncnn's one-thread runs on the Jetson TX2 NX."""
    board = "NVIDIA Jetson TX2 NX"
    base = sources.ncnn(folder, board=board, threads=1, unit="cpu", precision="fp32")
    networks = sources.ncnn(folder, board=board, threads=1, unit="cpu", precision=precision)
    six_threads = sources.ncnn(folder, board=board, threads=6, unit="cpu", precision=precision)
    return Profile(
        target="jetson-tx2",
        processor="cpu",
        precision=precision,
        runtime="ncnn (2023)",
        measured_on="Jetson TX2 NX",
        threads=1,
        notes=(
            text.NOTE_RUNTIME,
            text.NOTE_TX2_NX,
            *((text.NOTE_TX2_INT8,) if precision == "int8" else ()),
        ),
        sources=(text.SOURCE_NCNN,),
        networks=networks,
        fit=_scaled(_NCNN) if precision == "int8" else _tied(_NCNN),
        base=base if precision == "int8" else (),
        checks=(("ncnn, 6 threads, same board", six_threads),),
    )


def _tied(ties: Ties) -> Callable[[Networks, Networks], Floats]:
    return lambda networks, _: fitting.fit_latency(networks, ties)


def _scaled(ties: Ties) -> Callable[[Networks, Networks], Floats]:
    return lambda networks, base: fitting.scaled_fit(networks, base, ties)


PROFILES: tuple[tuple[Callable[[Path, Precision], Profile], Precision], ...] = (
    (rpi4_cpu, "fp32"),
    (rpi4_cpu, "int8"),
    (tx2_gpu, "fp16"),
    (tx2_gpu, "fp32"),
    (tx2_cpu, "fp32"),
    (tx2_cpu, "int8"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit every profile and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device-data", type=Path, default=_CHECKOUT.parent / "shared" / "device-data")
    parser.add_argument("--out", type=Path, default=_CHECKOUT / "profiles", help="the folder to write to")
    options = parser.parse_args(arguments)
    for make, precision in PROFILES:
        profile = make(options.device_data, precision)
        fitted = fit_profile(profile)
        path = options.out / profile.target / f"{profile.processor}-{precision}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.to_toml(fitted.model), encoding="utf-8")
        table = text.to_csv(profile.networks, fitted.latency, profile.energy, fitted.energy_leave_family_out)
        path.with_suffix(".csv").write_text(table, encoding="utf-8")
        print(text.summary(fitted.model))


if __name__ == "__main__":
    main()
