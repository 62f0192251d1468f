"""The scatter plot of a report, the task's metric over file size, as coordinates that the template draws as SVG."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgekd.quantities import format_metric_value, format_size, metric_title
from edgekd.records import Metric, Row

WIDTH = 640
HEIGHT = 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 24, 24, 48
_LINE_HEIGHT = 14
_LETTER_WIDTH = 6.5  # of the 12 pixel font, on average; only keeps labels apart, so an estimate is enough
_LONGEST_LABEL = 28


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A grid line: its place in pixels and its label."""

    position: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One artifact: centre, the ends of its error bar, and its label, all in pixels."""

    x: float
    y: float
    y_low: float
    y_high: float
    label: str
    label_x: float
    label_y: float
    anchor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """A plot ready to draw; `description` says in words what it shows."""

    points: tuple[Point, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    description: str
    title: str = "Accuracy"
    has_errors: bool = True
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM


def plot_accuracy_over_size(rows: tuple[Row, ...]) -> Scatter | None:
    """Return the plot of the rows whose accuracy is known; `None` for fewer than two.

    The size axis is linear and starts at zero, so that distances are proportional. Bars are one standard
    error.
    """
    known = [(row, row.accuracy) for row in rows if row.accuracy]
    if len(known) < 2:
        return None
    size_ticks = _ticks(0.0, max(1.0, *(float(row.size_bytes) for row, _ in known)))
    unit = known[0][1].unit
    share_ticks = _metric_ticks([metric for _, metric in known], unit)
    points: list[Point] = []
    for row, metric in known:
        points.append(_point(row, metric, size_ticks, share_ticks, points))
    sentences = [
        f"{row.name}: {format_metric_value(metric.value, unit)} at {format_size(row.size_bytes)}"
        for row, metric in known
    ]
    return Scatter(
        points=tuple(points),
        x_ticks=tuple(Tick(position=_x(tick, size_ticks), label=format_size(tick)) for tick in size_ticks),
        y_ticks=tuple(
            Tick(position=_y(tick, share_ticks), label=f"{tick * 100:.4g} %" if unit == "share" else f"{tick:.4g}")
            for tick in share_ticks
        ),
        description="; ".join(sentences) + ".",
        title=metric_title(known[0][1]),
        has_errors=all(metric.standard_error is not None for _, metric in known),
    )


def _metric_ticks(metrics: list[Metric], unit: str) -> list[float]:
    low = min(metric.value - (metric.standard_error or 0.0) for metric in metrics)
    high = max(metric.value + (metric.standard_error or 0.0) for metric in metrics)
    # Without a least range, equal values would stretch rounding noise over the whole height.
    least = 0.01 if unit == "share" else max(0.01 * abs(high), 1e-6)
    padding = max(0.0, least - (high - low)) / 2
    if unit == "share":
        return _ticks(max(0.0, low - padding), min(1.0, high + padding))
    return _ticks(low - padding, high + padding)


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers in even steps, the first at most `low`, the last at least `high`."""
    rough = (high - low) / 5
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= rough)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, last + 1)]


def _x(size_bytes: float, ticks: list[float]) -> float:
    part = (size_bytes - ticks[0]) / (ticks[-1] - ticks[0])
    return round(_LEFT + part * (WIDTH - _LEFT - _RIGHT), 1)


def _y(share: float, ticks: list[float]) -> float:
    part = (share - ticks[0]) / (ticks[-1] - ticks[0])
    return round(HEIGHT - _BOTTOM - part * (HEIGHT - _TOP - _BOTTOM), 1)


def _point(row: Row, metric: Metric, sizes: list[float], shares: list[float], placed: list[Point]) -> Point:
    x, y = _x(row.size_bytes, sizes), _y(metric.value, shares)
    is_right = x > WIDTH / 2
    label = row.name if len(row.name) <= _LONGEST_LABEL else row.name[: _LONGEST_LABEL - 1] + "\u2026"
    start = x - 10 - len(label) * _LETTER_WIDTH if is_right else x + 10
    return Point(
        x=x,
        y=y,
        y_low=_y(max(shares[0], metric.value - (metric.standard_error or 0.0)), shares),
        y_high=_y(min(shares[-1], metric.value + (metric.standard_error or 0.0)), shares),
        label=label,
        label_x=x - 10 if is_right else x + 10,
        label_y=_free_line(start, start + len(label) * _LETTER_WIDTH, y + 4, placed),
        anchor="end" if is_right else "start",
    )


def _free_line(start: float, end: float, wanted: float, placed: list[Point]) -> float:
    """Return the nearest line for a label, at or below the wanted one, where no other label stands."""
    line = wanted
    for other in sorted(placed, key=lambda point: point.label_y):
        other_width = len(other.label) * _LETTER_WIDTH
        other_start = other.label_x - (other_width if other.anchor == "end" else 0)
        overlaps = start < other_start + other_width and other_start < end
        if overlaps and abs(line - other.label_y) < _LINE_HEIGHT:
            line = other.label_y + _LINE_HEIGHT
    return round(line, 1)
