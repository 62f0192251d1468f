"""From measured networks to a table of operators with its error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls
from scipy.stats import spearmanr

from edgekd.hardware.interpolation import LEAST_US, KindModel, OperatorList, operator_times_us
from edgekd.hardware.measured import MeasuredNetwork, Rows, TableCheck
from edgekd.hardware.operators import COLUMNS, Operators
from edgekd.hardware.profile import Bounds, Coverage
from edgekd.profiling.attribution import QUANTILES
from edgekd.profiling.fit import fit_kinds, with_rows
from edgekd.profiling.journal import Entry

Floats = npt.NDArray[np.float64]
_FOLDS = 8
_TAIL = 0.1
_WITHIN = 0.15


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedTable:
    """The parts of a `MeasuredTable` that follow from entries."""

    overhead_us: float
    rows: Rows
    kinds: Mapping[str, KindModel]
    coverage: Coverage
    check: TableCheck


def fit_table(entries: Sequence[Entry], unseen: Sequence[Entry]) -> FittedTable:
    """Return the table of some networks and its error on others.

    Args:
        entries: Of one setting, one for each network.
        unseen: Of the same setting, of networks that the table is tested on.
    """
    overhead = measuring_overhead_us(entries)
    parts = _parts(entries, overhead)
    rows = _rows(parts)
    kinds = fit_kinds(OperatorList.of(rows.operators), rows.p50_us)
    held_out = _cross_validated(parts, kinds)
    measured = np.array([entry.latency_us for entry in entries])
    return FittedTable(
        overhead_us=overhead,
        rows=rows,
        kinds=kinds,
        coverage=_coverage(entries),
        check=_check(unseen, kinds, np.log(measured / held_out)),
    )


def measuring_overhead_us(entries: Sequence[Entry]) -> float:
    """Return what the runtime's profile adds to each node: the median, over networks, of sum minus whole, a node.

    Without a profile it is 0.
    """
    per_node = [
        (entry.shares.times_us[0].sum() - entry.latency_us) / max(1, int(entry.shares.nodes.sum())) for entry in entries
    ]
    return max(0.0, float(np.median(per_node)))


def operator_rows(entries: Sequence[Entry]) -> tuple[OperatorList, Floats]:
    """Return the distinct operators of networks and their times in microseconds, `[rows]`."""
    rows = _rows(_parts(entries, measuring_overhead_us(entries)))
    return OperatorList.of(rows.operators), rows.p50_us


def median_error(entries: Sequence[Entry], kinds: Mapping[str, KindModel]) -> float:
    """Return the median error of whole networks, as a share of what was measured."""
    predicted = [float(operator_times_us(kinds, entry.operators).sum()) for entry in entries]
    errors = [abs(value / entry.latency_us - 1) for value, entry in zip(predicted, entries, strict=True)]
    return float(np.median(errors))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """The operators of one network and what each took of the whole, `[3, operators]`."""

    operators: Operators
    times_us: Floats


def _parts(entries: Sequence[Entry], overhead_us: float) -> list[_Part]:
    """Return the operators of each network with times that sum up to the whole.

    What the profile adds is taken off; where the runtime has no profile, the law that fits the wholes best
    divides them.
    """
    if any(entry.shares.nodes.any() for entry in entries):
        times = [entry.shares.times_us - overhead_us * entry.shares.nodes for entry in entries]
    else:
        times = [np.tile(part, (len(QUANTILES), 1)) for part in _divided(entries)]
    return [_part(entry, np.maximum(found, LEAST_US)) for entry, found in zip(entries, times, strict=True)]


def _part(entry: Entry, times_us: Floats) -> _Part:
    return _Part(
        operators=entry.operators,
        times_us=np.maximum(times_us * entry.latency_us / times_us[0].sum(), LEAST_US),
    )


def _divided(entries: Sequence[Entry]) -> list[Floats]:
    """Return what each operator takes by rates for each kind, found by least squares of relative errors of wholes."""
    lists = [OperatorList.of(entry.operators) for entry in entries]
    kinds = sorted({str(kind) for found in lists for kind in found.kind})
    columns = [np.concatenate([found.law * (found.kind == kind)[:, None] for kind in kinds], axis=1) for found in lists]
    wholes = np.array([entry.latency_us for entry in entries])
    work = np.stack([column.sum(axis=0) for column in columns])
    rates, _ = nnls(work / wholes[:, None], np.ones(len(wholes)))
    return [column @ rates for column in columns]


def _rows(parts: Sequence[_Part]) -> Rows:
    """Return each distinct operator once, with the medians of its quantiles."""
    op = np.concatenate([np.asarray(part.operators.op) for part in parts])
    columns = [part.operators.columns() for part in parts]
    sizes = {name: np.concatenate([column[name] for column in columns]) for name in COLUMNS}
    # How a depthwise convolution is grouped follows from its channels.
    sizes["groups"] = np.where(op == "depthwise", 1, sizes["groups"])
    times = np.concatenate([part.times_us for part in parts], axis=1)
    variant = np.concatenate([np.asarray(part.operators.variant) for part in parts])
    words, word = np.unique(np.stack([op, variant]), axis=1, return_inverse=True)
    keys = np.stack([word.reshape(-1), *sizes.values()], axis=1)
    distinct, where = np.unique(keys, axis=0, return_inverse=True)
    members = [np.flatnonzero(where.reshape(-1) == row) for row in range(len(distinct))]
    medians = np.stack([np.median(times[:, found], axis=1) for found in members], axis=1)
    return Rows(
        operators=Operators.from_columns(
            [str(word) for word in words[0, distinct[:, 0]]],
            [str(word) for word in words[1, distinct[:, 0]]],
            dict(zip(COLUMNS, distinct[:, 1:].T, strict=True)),
        ),
        count=tuple(len(found) for found in members),
        **dict(zip(("p50_us", "p90_us", "p99_us"), np.maximum.accumulate(medians, axis=0).round(3), strict=True)),
    )


def _cross_validated(parts: Sequence[_Part], kinds: Mapping[str, KindModel]) -> Floats:
    """Return what each network is predicted to take without its own rows, `[networks]`.

    The law and the kernel are those of all networks: only the rows are left out.
    """
    predicted = np.zeros(len(parts))
    for fold in range(min(_FOLDS, len(parts))):
        left_out = range(fold, len(parts), _FOLDS)
        rows = _rows([part for index, part in enumerate(parts) if index % _FOLDS != fold])
        models = with_rows(kinds, OperatorList.of(rows.operators), rows.p50_us)
        for index in left_out:
            predicted[index] = operator_times_us(models, parts[index].operators).sum()
    return np.maximum(predicted, LEAST_US)


def _check(unseen: Sequence[Entry], kinds: Mapping[str, KindModel], held_out_logs: Floats) -> TableCheck:
    measured = np.array([entry.latency_us for entry in unseen])
    predicted = np.array([operator_times_us(kinds, entry.operators).sum() for entry in unseen])
    errors, logs = np.abs(predicted / measured - 1), np.log(measured / np.maximum(predicted, LEAST_US))
    low, high = _bounds(held_out_logs)
    return TableCheck(
        networks=tuple(
            MeasuredNetwork(name=entry.network, measured_us=round(float(m), 3), predicted_us=round(float(p), 3))
            for entry, m, p in zip(unseen, measured, predicted, strict=True)
        ),
        median_error=float(np.median(errors)),
        within_15_percent=float((errors <= _WITHIN).mean()),
        spearman=float(spearmanr(measured, predicted).statistic),
        cross_validation_median=float(np.median(np.abs(np.exp(-held_out_logs) - 1))),
        interval_log=_bounds(np.concatenate([held_out_logs, logs])),
        interval_coverage=float(((logs >= low) & (logs <= high)).mean()),
    )


def _bounds(logs: Floats) -> Bounds:
    low, high = np.quantile(logs, [_TAIL, 1 - _TAIL])
    return min(0.0, float(low)), max(0.0, float(high))


def _coverage(entries: Sequence[Entry]) -> Coverage:
    gmacs = [float(entry.operators.macs.sum()) / 1e9 for entry in entries]
    latency = [entry.latency_us for entry in entries]
    return Coverage(gmacs=(min(gmacs), max(gmacs)), latency_us=(min(latency), max(latency)), max_share=())
