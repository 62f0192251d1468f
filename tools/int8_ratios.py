"""Show how long int8 takes against float on CPUs, as the notes of `targets/*.toml` state it.

Example:
    python tools/int8_ratios.py --device-data ../shared/device-data

One line for each board, runtime and number of threads: the smallest, median and largest ratio of latencies over the
networks that were measured in both. ncnn computes floats in fp16 where the cores can, else in fp32.
"""

from __future__ import annotations

import argparse
import csv
import re
import statistics
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

Row = Mapping[str, str]
Setting = tuple[str, ...]

_CHECKOUT = Path(__file__).resolve().parents[1]
_BOARDS = re.compile(r"Jetson|Raspberry|RK3399|RK3568|RK3588")


def ncnn_latencies(rows: Iterable[Row]) -> Iterator[tuple[Setting, str, bool, float]]:
    """Yield setting, network, whether it is int8, and its least latency of each run on the CPU, in milliseconds."""
    for row in rows:
        if row["run_backend"] == "cpu" and row["executes_on"] == "cpu" and _BOARDS.search(row["board"]):
            cores = {"0": "all cores", "1": "little cores", "2": "big cores"}[row["powersave"]]
            setting = (row["board"], "ncnn", f"{row['threads']} threads, {cores}, run {row['run_id']}")
            yield setting, row["model"].removesuffix("_int8"), row["model"].endswith("_int8"), float(row["min_ms"])


def mlperf_latencies(rows: Iterable[Row]) -> Iterator[tuple[Setting, str, bool, float]]:
    """Yield setting, network, whether it is int8, and its median latency of each MLPerf submission, in milliseconds."""
    for row in rows:
        is_wanted = row["unit"] == "cpu" and row["trust"] == "high" and row["precision"] in ("fp32", "int8")
        if is_wanted and row["p50_ms"] and _BOARDS.search(row["device"]):
            setting = (row["device"], row["runtime"], "threads not stated")
            network = re.sub(r"-(non-)?quantized$|_float$|_uint8$", "", row["model"])
            yield setting, network, row["precision"] == "int8", float(row["p50_ms"])


def ratios(latencies: Iterable[tuple[Setting, str, bool, float]]) -> dict[Setting, dict[str, float]]:
    """Return int8 over float by setting and network; of several runs of one network the median counts."""
    runs: dict[tuple[Setting, str, bool], list[float]] = {}
    for setting, network, is_int8, latency in latencies:
        runs.setdefault((setting, network, is_int8), []).append(latency)
    found: dict[Setting, dict[str, float]] = {}
    for (setting, network, is_int8), values in runs.items():
        floats = runs.get((setting, network, False))
        if is_int8 and floats:
            found.setdefault(setting, {})[network] = statistics.median(values) / statistics.median(floats)
    return found


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device-data", type=Path, default=_CHECKOUT.parent / "shared" / "device-data")
    folder = parser.parse_args().device_data
    for name, read in (("ncnn", ncnn_latencies), ("published", mlperf_latencies)):
        with (folder / f"{name}_measurements.csv").open(encoding="utf-8", newline="") as file:
            for setting, by_network in sorted(ratios(read(csv.DictReader(file))).items()):
                least, most = min(by_network, key=by_network.__getitem__), max(by_network, key=by_network.__getitem__)
                print(
                    f"{', '.join(setting)}: {len(by_network)} networks, {by_network[least]:.2f} ({least}) to "
                    f"{by_network[most]:.2f} ({most}), median {statistics.median(by_network.values()):.2f}"
                )


if __name__ == "__main__":
    main()
