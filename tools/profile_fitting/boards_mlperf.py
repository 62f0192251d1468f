"""Boards whose CPU Krai measured for MLPerf Inference, most with wall power."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgekd.records import Precision
from profile_fitting import sources, texts
from profile_fitting.candidates import Candidate, Floats, Networks, candidates, latencies_us
from profile_fitting.held_out import log_ratio
from profile_fitting.int8 import compare
from profile_fitting.nas_bench import nas_bench_rpi4
from profile_fitting.networks import Measured
from profile_fitting.profile import Profile

# One network at most has wider convolutions than 1x1: a sum may give them no time at all, a roofline has its prior.
_FORMS = tuple(form for form in candidates("matrix", "spatial") if form.name != "linear-spatial")
_PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")
_WALL = "wall power of the whole board with its power supply, idle power included"


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A board in one edition of MLPerf Inference.

    Attributes:
        target: Its name.
        device: As in the table.
        title: With its cores.
        edition: Of MLPerf Inference.
        tflite: Version that ran.
        armnn: Version that ran, the first check and bound outside the covered range.
        left_out: Why no profile is written, if none is.
    """

    target: str
    device: str
    title: str
    edition: str
    tflite: str
    armnn: str | None
    left_out: str | None = None


_BOARDS = (
    Board(
        target="rpi4",
        device="Raspberry Pi 4B",
        title="Raspberry Pi 4B (4 x Cortex-A72)",
        edition="v2.0",
        tflite="TFLite v2.7.1 (ruy)",
        armnn="ArmNN v21.11 (Neon)",
    ),
    Board(
        target="jetson-xavier",
        device="Jetson AGX Xavier",
        title="Jetson AGX Xavier (8 x Carmel), nvpmodel 0",
        edition="v2.0",
        tflite="TFLite v2.7.1 (ruy)",
        armnn="ArmNN v21.11 (Neon)",
    ),
    Board(
        target="jetson-agx-orin",
        device="Jetson AGX Orin",
        title="Jetson AGX Orin (12 x Cortex-A78AE)",
        edition="v2.1",
        tflite="TFLite v2.7.1 (ruy)",
        armnn="ArmNN v22.05 (Neon)",
    ),
    Board(
        target="rk3588",
        device="Firefly-RK3588S",
        title="Firefly-RK3588S (4 x Cortex-A76, 4 x Cortex-A55)",
        edition="v3.0",
        tflite="TFLite v2.11.0 (ruy)",
        armnn="ArmNN v22.11 (Neon)",
    ),
    Board(
        target="rk3399",
        device="Firefly-RK3399",
        title="Firefly-RK3399 (2 x Cortex-A72, 4 x Cortex-A53)",
        edition="v1.1",
        tflite="TFLite v2.5.0 (ruy)",
        armnn=None,
    ),
    Board(
        target="rpi3",
        device="Raspberry Pi 3B",
        title="Raspberry Pi 3B (4 x Cortex-A53)",
        edition="v2.0",
        tflite="TFLite v2.7.1 (ruy)",
        armnn=None,
        left_out="some runs take several times what their neighbours do, and the rank correlation is low",
    ),
)


def profiles(folder: Path) -> Iterator[Profile]:
    """Yield TFLite on each board, and ArmNN on the Raspberry Pi 4, in fp32 and int8."""
    for board in _BOARDS:
        for precision in _PRECISIONS:
            yield _tflite(folder, board, precision)
    for precision in _PRECISIONS:
        yield _profile(folder, _BOARDS[0], precision, runtime="armnn", version="ArmNN v21.11 (Neon)")


def _measured(folder: Path, board: Board, version: str, precision: Precision) -> list[Measured]:
    return sources.mlperf(folder, device=board.device, runtime=version, precision=precision, edition=board.edition)


def _tflite(folder: Path, board: Board, precision: Precision) -> Profile:
    if board.target == "rpi4":
        return _rpi4(folder, board, precision)
    return _profile(folder, board, precision, runtime="tflite", version=board.tflite)


def _profile(
    folder: Path,
    board: Board,
    precision: Precision,
    *,
    runtime: str,
    version: str,
    checks: tuple[tuple[str, Networks], ...] = (),
    outside_logs: tuple[Floats, ...] = (),
    notes: tuple[str, ...] = (),
    more_sources: tuple[str, ...] = (),
) -> Profile:
    networks = _measured(folder, board, version, precision)
    if runtime == "tflite" and board.armnn is not None:
        armnn = _measured(folder, board, board.armnn, precision)
        checks = ((f"{board.armnn}, MLPerf {board.edition}", armnn), *checks)
    general = [texts.NOTE_RUNTIME, texts.NOTE_THREADS]
    is_int8 = precision == "int8"
    general.append(texts.NOTE_MLPERF_SPATIAL_INT8 if is_int8 else texts.NOTE_MLPERF_SPATIAL_FP32)
    energy = [network for network in networks if network.energy_uj is not None]
    return Profile(
        target=board.target,
        processor="cpu",
        precision=precision,
        runtime=runtime,
        runtime_version=version,
        measured_on=f"{board.title}, MLPerf Inference {board.edition}, Krai, median of single-stream",
        threads=None,
        is_preferred=runtime == "tflite",
        candidates=_FORMS,
        networks=networks,
        checks=checks,
        # A board's own repetition says nothing of other networks.
        outside=tuple(others for data, others in checks if "again" not in data),
        outside_logs=outside_logs,
        left_out=board.left_out,
        energy=energy,
        energy_includes=_WALL if energy else "",
        energy_precision=precision,
        int8_against_floats=compare(_measured(folder, board, version, "fp32"), networks).sentence if is_int8 else None,
        notes=(*general, *notes),
        sources=(texts.source_mlperf(board.edition), *more_sources),
    )


def _rpi4(folder: Path, board: Board, precision: Precision) -> Profile:
    """Return the board's profile with the checks that only this board allows."""
    again = sources.mlperf(folder, device=board.device, runtime=board.tflite, precision=precision, edition="v2.1")
    ncnn = sources.ncnn(folder, board="Raspberry Pi 4B", unit="cpu", precision=precision, threads=4)
    checks: list[tuple[str, Networks]] = [
        ("the same runtime again, MLPerf v2.1: repeatability", again),
        ("ncnn, 4 threads", ncnn),
    ]
    small = nas_bench_rpi4(folder, every=20)
    outside_logs: tuple[Floats, ...] = ()
    notes: tuple[str, ...] = (texts.NOTE_RPI4_NAS_BENCH,)
    if precision == "fp32":
        checks.append(("NAS-Bench-201 (CIFAR-10), TFLite, threads not stated", small))
    else:
        # Small networks were measured in fp32 only, and int8 is not known better than that.
        form: Candidate = _FORMS[0]
        predicted = form.predict(form.fit(_measured(folder, board, board.tflite, "fp32")), small)
        outside_logs = (log_ratio(latencies_us(small), predicted),)
        notes = (texts.NOTE_RPI4_INT8_SMALL,)
    return _profile(
        folder,
        board,
        precision,
        runtime="tflite",
        version=board.tflite,
        checks=tuple(checks),
        outside_logs=outside_logs,
        notes=notes,
        more_sources=(
            texts.source_mlperf("v2.1"),
            texts.SOURCE_NCNN,
            texts.SOURCE_HELP,
        ),
    )
