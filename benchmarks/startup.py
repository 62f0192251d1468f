"""Start of the commands that never load torch, beside a Python that does nothing.

    python benchmarks/startup.py [--repeats 10]

Prints medians and the ratio, and writes `benchmarks/results/startup.json`. Each run is a process of its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import timing

LIMIT_MS = 300.0


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=10)
    repeats = parser.parse_args().repeats
    program = "from edgekd.cli.app import main; main()"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(bytes(1_000_000))
        commands = {
            "python -c pass": ["pass"],
            "import edgekd": ["import edgekd"],
            "edgekd --help": [program, "--help"],
            "edgekd check": [program, "check", str(path), "--max-size", "2MB"],
            "edgekd targets show": [program, "targets", "show", "rpi4"],
        }
        measured = timing.compare(
            {name: _runner(words) for name, words in commands.items()}, label="start", repeats=repeats
        )
    ratio = timing.ratio(measured, "edgekd check", "python -c pass")
    timing.keep("startup", repeats=repeats, networks={"start": {"milliseconds": measured, "check / python": ratio}})
    if measured["edgekd check"]["median"] > LIMIT_MS:
        sys.exit(f"edgekd check took more than {LIMIT_MS:.0f} ms")


def _runner(words: list[str]) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, "-c", *words], stdout=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    main()
