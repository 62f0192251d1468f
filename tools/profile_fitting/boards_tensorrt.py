"""Jetson boards whose GPU was measured with TensorRT."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from profile_fitting import sources, texts
from profile_fitting.candidates import LAUNCH_BOUND, Networks, candidates
from profile_fitting.nas_bench import nas_bench_tx2
from profile_fitting.profile import Profile

_FORMS = (*candidates("dense", "winograd"), LAUNCH_BOUND)


def profiles(folder: Path) -> Iterator[Profile]:
    """Yield the Jetson TX2 in both precisions, and what torch2trt measured on Nano and Xavier."""
    yield _tx2_fp16(folder)
    yield _tx2_fp32(folder)
    yield _torch2trt(folder, "jetson-nano", "Jetson Nano", (texts.NOTE_NANO_DEPTHWISE,))
    yield _torch2trt(folder, "jetson-xavier", "Jetson AGX Xavier", (texts.NOTE_XAVIER_TENSORRT,))


def _tx2_networks(folder: Path) -> Networks:
    cifar = [network for network in nas_bench_tx2(folder) if network.name.endswith("cifar10")]
    return [*sources.slim_tx2(folder, precision="fp32"), *cifar]


def _tx2_fp32(folder: Path) -> Profile:
    return Profile(
        target="jetson-tx2",
        processor="gpu",
        precision="fp32",
        runtime="tensorrt",
        runtime_version="TensorRT 3.0.4 (14 networks) and torch2trt (3)",
        measured_on="Jetson TX2, clocks and power mode not stated",
        threads=None,
        is_preferred=True,
        candidates=_FORMS,
        networks=_tx2_networks(folder),
        energy=nas_bench_tx2(folder),
        energy_includes="VDD_IN rail, the whole module without the carrier board",
        notes=(texts.NOTE_TENSORRT_3, texts.NOTE_COPIES, texts.NOTE_TX2_ENERGY),
        sources=(texts.SOURCE_SLIM, texts.SOURCE_HW_NAS_BENCH),
    )


def _tx2_fp16(folder: Path) -> Profile:
    vulkan = sources.ncnn(folder, board="NVIDIA Jetson TX2 NX", unit="gpu", precision="fp16")
    return Profile(
        target="jetson-tx2",
        processor="gpu",
        precision="fp16",
        runtime="tensorrt",
        runtime_version="TensorRT 3.0.4",
        measured_on="Jetson TX2, clocks and power mode not stated",
        threads=None,
        is_preferred=True,
        candidates=_FORMS,
        networks=sources.slim_tx2(folder, precision="fp16"),
        base=_tx2_networks(folder),
        base_form=LAUNCH_BOUND,
        from_base="launches",
        checks=(("ncnn Vulkan fp16 on the Jetson TX2 NX", vulkan),),
        energy=nas_bench_tx2(folder),
        energy_includes="VDD_IN rail, the whole module without the carrier board",
        notes=(
            texts.NOTE_TENSORRT_3,
            texts.NOTE_COPIES,
            texts.NOTE_TX2_ENERGY,
            texts.NOTE_TX2_FP16_LAUNCHES,
            texts.NOTE_TX2_FP16_ENERGY,
        ),
        sources=(texts.SOURCE_SLIM, texts.SOURCE_HW_NAS_BENCH, texts.SOURCE_NCNN),
    )


def _torch2trt(folder: Path, target: str, device: str, notes: tuple[str, ...]) -> Profile:
    return Profile(
        target=target,
        processor="gpu",
        precision="fp16",
        runtime="tensorrt",
        runtime_version="TensorRT via torch2trt",
        measured_on=f"{device}, clocks and power mode not stated",
        threads=None,
        is_preferred=True,
        candidates=_FORMS,
        networks=sources.torch2trt(folder, device=device),
        notes=(texts.NOTE_TORCH2TRT, *notes),
        sources=(texts.SOURCE_TORCH2TRT,),
    )
