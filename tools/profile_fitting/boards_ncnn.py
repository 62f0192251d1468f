"""Boards whose CPU or GPU ncnn's own benchmark measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgekd.records import Precision
from profile_fitting import sources, texts
from profile_fitting.candidates import candidates
from profile_fitting.int8 import compare
from profile_fitting.networks import Measured
from profile_fitting.profile import Profile

_FORMS = candidates("spatial", "winograd")
# For int8, whose networks are too few to choose by: what suits most boards in floats.
_INT8_FORM = tuple(form for form in _FORMS if form.name == "roofline-spatial")


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A CPU that ncnn measured.

    Attributes:
        target: Its name.
        board: As ncnn names it.
        title: With its cores.
        precision: In which its cores compute float networks.
        threads: Of the runs to make profiles of; the first is the preferred one if any of ncnn's is.
        powersave: ncnn's choice of cores.
        is_preferred: Whether no nearer runtime was measured on it in floats.
        has_int8: Whether int8 is taken from ncnn too, with the first number of threads.
        int8_left_out: Why it is not written after all.
        notes: What a reader must know.
    """

    target: str
    board: str
    title: str
    precision: Precision
    threads: tuple[int, ...]
    powersave: int = 0
    is_preferred: bool = True
    has_int8: bool = True
    int8_left_out: str | None = None
    notes: tuple[str, ...] = ()


_FIVE = "five networks, and an unseen family is wrong by a quarter and more"
_BOARDS = (
    Board(
        target="jetson-tx2-nx",
        board="NVIDIA Jetson TX2 NX",
        title="Jetson TX2 NX (2 x Denver 2, 4 x Cortex-A57)",
        precision="fp32",
        threads=(1, 6),
        notes=(texts.NOTE_TX2_NX,),
    ),
    Board(
        target="jetson-tx2",
        board="NVIDIA Jetson TX2 NX",
        title="Jetson TX2 NX (2 x Denver 2, 4 x Cortex-A57)",
        precision="fp32",
        threads=(1,),
        notes=(texts.NOTE_TX2_CPU, texts.NOTE_TX2_NX),
    ),
    Board(
        target="jetson-nano",
        board="NVIDIA Jetson Nano",
        title="Jetson Nano (4 x Cortex-A57)",
        precision="fp32",
        threads=(4, 1),
    ),
    Board(
        target="jetson-orin-nano",
        board="NVIDIA Jetson Orin Nano",
        title="Jetson Orin Nano (6 x Cortex-A78AE)",
        precision="fp16",
        threads=(6, 1),
    ),
    Board(
        target="rpi3",
        board="Raspberry Pi 3B+",
        title="Raspberry Pi 3B+ (4 x Cortex-A53)",
        precision="fp32",
        threads=(4, 1),
        int8_left_out=_FIVE,
    ),
    Board(
        target="rpi4",
        board="Raspberry Pi 4B",
        title="Raspberry Pi 4B (4 x Cortex-A72)",
        precision="fp32",
        threads=(4, 1),
        is_preferred=False,
        has_int8=False,
    ),
    Board(
        target="rpi5",
        board="Raspberry Pi 5",
        title="Raspberry Pi 5 (4 x Cortex-A76)",
        precision="fp16",
        threads=(4, 1),
    ),
    Board(
        target="rpi-zero2w",
        board="Raspberry Pi Zero 2 W",
        title="Raspberry Pi Zero 2 W (4 x Cortex-A53)",
        precision="fp32",
        threads=(4, 1),
        int8_left_out=_FIVE,
    ),
    Board(
        target="rk3399",
        board="RK3399 board (unspecified)",
        title="RK3399 board (2 x Cortex-A72)",
        precision="fp32",
        threads=(2, 1),
        powersave=2,
        is_preferred=False,
        has_int8=False,
    ),
    Board(
        target="rk3568",
        board="Station P2 RK3568",
        title="Station P2, RK3568 (4 x Cortex-A55)",
        precision="fp16",
        threads=(4, 1),
    ),
    Board(
        target="rk3588",
        board="RK3588 board (unspecified)",
        title="RK3588 board (4 x Cortex-A76)",
        precision="fp16",
        threads=(1,),
        powersave=2,
        has_int8=False,
    ),
)


def cpu_profiles(folder: Path) -> Iterator[Profile]:
    """Yield the profiles of all boards, floats before int8."""
    for board in _BOARDS:
        yield from (_floats(folder, board, threads) for threads in board.threads)
        if board.has_int8:
            yield _int8(folder, board)


def _floats(folder: Path, board: Board, threads: int) -> Profile:
    def measured(count: int) -> list[Measured]:
        return sources.ncnn(
            folder,
            board=board.board,
            unit="cpu",
            precision=board.precision,
            threads=count,
            powersave=board.powersave,
        )

    notes = [texts.NOTE_RUNTIME, *board.notes]
    if board.precision == "fp16":
        notes.append(texts.NOTE_NCNN_FP16)
    if threads == 6 and board.target.startswith("jetson-tx2"):
        notes.append(texts.NOTE_TX2_NX_SIX)
    return Profile(
        target=board.target,
        processor="cpu",
        precision=board.precision,
        runtime="ncnn",
        runtime_version="ncnn",
        measured_on=board.title,
        threads=threads,
        is_preferred=board.is_preferred and threads == board.threads[0],
        candidates=_FORMS,
        networks=measured(threads),
        checks=tuple((f"ncnn, {n} thread{'s' * (n > 1)}", measured(n)) for n in board.threads if n != threads),
        notes=tuple(notes),
        sources=(texts.SOURCE_NCNN,),
    )


def _int8(folder: Path, board: Board) -> Profile:
    base, networks = (
        sources.ncnn(
            folder,
            board=board.board,
            unit="cpu",
            precision=precision,
            threads=board.threads[0],
            powersave=board.powersave,
        )
        for precision in (board.precision, "int8")
    )
    return Profile(
        target=board.target,
        processor="cpu",
        precision="int8",
        runtime="ncnn",
        runtime_version="ncnn",
        measured_on=board.title,
        threads=board.threads[0],
        is_preferred=True,
        candidates=_INT8_FORM,
        networks=networks,
        base=base,
        from_base="rates",
        left_out=board.int8_left_out,
        int8_against_floats=compare(base, networks).sentence,
        notes=(texts.NOTE_RUNTIME, *board.notes, texts.NOTE_RATIO.format(networks=len(networks))),
        sources=(texts.SOURCE_NCNN,),
    )


def vulkan_profiles(folder: Path) -> Iterator[Profile]:
    """Yield the GPUs of Jetsons; those of Orin and Xavier cannot be predicted well enough to be written."""
    unranked = "one network at a time waits for launches there; networks of unseen families are far off"
    boards = (
        ("jetson-tx2-nx", "NVIDIA Jetson TX2 NX", "Jetson TX2 NX", None),
        ("jetson-nano", "NVIDIA Jetson Nano", "Jetson Nano", None),
        ("jetson-orin-nano", "NVIDIA Jetson Orin Nano", "Jetson Orin Nano", unranked),
        ("jetson-agx-orin", "NVIDIA Jetson AGX Orin", "Jetson AGX Orin", unranked),
        ("jetson-xavier", "NVIDIA Jetson AGX Xavier", "Jetson AGX Xavier", unranked),
    )
    for target, board, title, left_out in boards:
        yield Profile(
            target=target,
            processor="gpu",
            precision="fp16",
            runtime="ncnn-vulkan",
            runtime_version="ncnn (Vulkan)",
            measured_on=title,
            threads=None,
            is_preferred=target == "jetson-tx2-nx",
            candidates=_FORMS,
            networks=sources.ncnn(folder, board=board, unit="gpu", precision="fp16"),
            left_out=left_out,
            notes=(texts.NOTE_VULKAN,),
            sources=(texts.SOURCE_NCNN,),
        )
