"""Compress a real ResNet-56 on real images for two boards, and put the result into the README.

    python benchmarks/resnet56_cifar10.py            run both targets (see benchmarks/README.md for how long it takes)
    python benchmarks/resnet56_cifar10.py --render   only write the README's table again, from the stored results

The network and the images are described in benchmarks/README.md; without them nothing is run. The size budget is an
eighth of the uncompressed fp32 ONNX file. Results are the runs' own report.json, in benchmarks/results/.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

from edgekd.quantities import format_count, format_latency_us, format_share, format_size
from edgekd.records import Prediction, Report, Row
from edgekd.report.document import read_report

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
MODEL = Path("../shared/models/resnet56_cifar10jpeg.pt2")
DATA = Path("../shared/data/cifar10")
TARGETS = ("rpi4", "jetson-tx2")
BUDGET = ("--max-size", "427KB", "--baseline")
RECIPE = ("--epochs", "7", "--train-precision", "bf16", "--evaluations", "144", "--holdout", "test")
CACHE = ("--cache", "runs/cache")
BEGIN, END = "<!-- resnet56: begin -->", "<!-- resnet56: end -->"


def run_target(target: str) -> float:
    """Compress for one target, keep its report, and return the seconds it took.

    Raises:
        subprocess.CalledProcessError: The command failed.
    """
    run = ROOT / "runs" / f"benchmark-{target}"
    shutil.rmtree(run, ignore_errors=True)
    command = ["compress", str(MODEL), "--data", str(DATA), "--target", target, *BUDGET, *RECIPE, *CACHE]
    # The baseline does not depend on the target: the second run takes over the first one's. All else is its own.
    if target != TARGETS[0]:
        command += ["--reuse", f"runs/benchmark-{TARGETS[0]}", "--reuse-parts", "baseline"]
    # The program beside this Python, by its own name, so that the recorded command can be pasted.
    program = Path(sys.executable).with_name("edgekd")
    began = time.monotonic()
    subprocess.run([program, *command, "--run", str(run.relative_to(ROOT))], cwd=ROOT, check=True, stdout=sys.stderr)
    seconds = time.monotonic() - began
    RESULTS.mkdir(exist_ok=True)
    shutil.copy(run / "report" / "report.json", RESULTS / f"resnet56_{target}.json")
    return seconds


def judge(report: Report) -> list[str]:
    """Return what the run shows against its promises, a line each."""
    rows = {row.name: row for row in report.rows}
    int8, teacher, tuned = (_top1(rows[name]) for name in ("compressed int8", "original fp32", "fine-tuned only"))
    limit = next(budget.limit for budget in report.budgets if budget.quantity == "size_bytes")
    minutes = {stage.name: stage.seconds / 60 for stage in report.stages}
    baseline = minutes.pop("baseline", 0.0)
    return [
        f"int8 file {rows['compressed int8'].size_bytes:,} bytes, budget {limit:,.0f}",
        f"int8 minus teacher {100 * (int8 - teacher):+.2f} points (at least -2.0 wanted)",
        f"int8 minus fine-tuned only {100 * (int8 - tuned):+.2f} points (at least -1.5 wanted)",
        f"parity: {sum(r.parity is not None and r.parity.passed for r in report.rows)} of {len(report.rows)} passed",
        f"{sum(minutes.values()):.1f} minutes (45 wanted), and {baseline:.1f} for the baseline",
    ]


def readme_table(reports: dict[str, Report]) -> str:
    """Return the README's table, in Markdown."""
    lines = [
        "| target | artifact | file | MACs | parameters | accuracy of the file | predicted latency (80 %) | parity |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for target, report in reports.items():
        for row in report.rows:
            parity = "-" if row.parity is None else f"{format_share(row.parity.equal_predictions)} equal"
            lines.append(
                f"| {target} | {row.name} | {format_size(row.size_bytes)} | {format_count(row.macs)} "
                f"| {format_count(row.parameters)} | {_accuracy(row)} | {_latency(row.latency_us)} | {parity} |"
            )
    return "\n".join(lines)


def stored_reports() -> dict[str, Report]:
    """Return the stored results by target."""
    paths = {target: RESULTS / f"resnet56_{target}.json" for target in TARGETS}
    return {target: read_report(path) for target, path in paths.items() if path.is_file()}


def write_readme(reports: dict[str, Report]) -> None:
    """Replace what stands between the markers of the README."""
    path = ROOT / "README.md"
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    path.write_text(f"{before}{BEGIN}\n{readme_table(reports)}\n{END}{after}", encoding="utf-8")


def _top1(row: Row) -> float:
    if row.accuracy is None:
        raise ValueError(f"'{row.name}' has no accuracy")
    return row.accuracy.value


def _accuracy(row: Row) -> str:
    if row.accuracy is None:
        return "not run here"
    return f"{format_share(row.accuracy.value)} ± {100 * row.accuracy.standard_error:.2f}"


def _latency(prediction: Prediction | None) -> str:
    if prediction is None:
        return "not known"
    mark = " †" if prediction.extrapolated else ""
    interval = f"{format_latency_us(prediction.low)} to {format_latency_us(prediction.high)}"
    return f"{format_latency_us(prediction.value)} ({interval}){mark}"


def main() -> None:
    """Run, judge and render."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--render", action="store_true", help="only write the README's table from the stored results")
    parser.add_argument("--target", choices=TARGETS, action="append", help="only this target; may be repeated")
    options = parser.parse_args()
    if not options.render:
        if not (ROOT / MODEL).is_file() or not (ROOT / DATA).is_dir():
            print(f"skipped: {MODEL} and {DATA} are not there (see benchmarks/README.md)")
            return
        for target in options.target or TARGETS:
            print(f"{target}: {run_target(target) / 60:.1f} minutes in all")
    reports = stored_reports()
    for target, report in reports.items():
        print("\n".join(f"{target}: {line}" for line in judge(report)))
    write_readme(reports)


if __name__ == "__main__":
    main()
