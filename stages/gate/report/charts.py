"""The report's charts, each a function of plain numbers and a theme to a canvas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from stages.gate.report.svg import Canvas, Theme, label, scale, ticks

_LEFT, _TOP, _BOTTOM = 52, 20, 44

_Scale = Callable[[float], float]


@dataclass(frozen=True)
class Interval:
    """One row of a forest plot. `bad`: it stopped the model."""

    name: str
    value: float
    low: float
    high: float
    note: str = ""
    bad: bool = False


def forest(rows: Sequence[Interval], lines: Sequence[tuple[float, str]], axis: str, theme: Theme) -> Canvas:
    """Values with their intervals under each other; `lines`: what they are held against."""
    names = min(max((len(row.name) for row in rows), default=8), 34) * 6.6 + 16
    left, right, step = names, 170.0, 24.0
    canvas = Canvas(720, _TOP + step * len(rows) + _BOTTOM, theme)
    ends = [end for row in rows for end in (row.low, row.high)] + [at for at, _ in lines]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    pad = (high - low) * 0.06 or 0.5
    low, high = low - pad, high + pad
    bottom = _TOP + step * len(rows)
    x = scale(low, high, left, canvas.width - right)
    for tick in ticks(low, high):
        canvas.line(x(tick), _TOP, x(tick), bottom, theme.grid)
        canvas.text(x(tick), bottom + 16, label(tick), theme.muted, "middle")
    for at, what in lines:
        canvas.line(x(at), _TOP - 2, x(at), bottom, theme.bad, 1.5, "5 4")
        canvas.text(x(at), _TOP - 6, what, theme.bad, "middle", 11)
    for i, row in enumerate(rows):
        y = _TOP + step * (i + 0.5)
        colour = theme.bad if row.bad else theme.main
        canvas.text(8, y + 4, row.name if len(row.name) <= 34 else row.name[:33] + "…")
        canvas.line(x(row.low), y, x(row.high), y, colour, 2)
        canvas.dot(x(row.value), y, colour)
        canvas.text(canvas.width - right + 10, y + 4, row.note, theme.muted, size=11)
    canvas.text((left + canvas.width - right) / 2, bottom + 36, axis, theme.muted, "middle")
    return canvas


def _plane(
    theme: Theme, ends: tuple[float, float, float, float], names: tuple[str, str]
) -> tuple[Canvas, _Scale, _Scale]:
    """Axes with a grid. Returns the canvas and both scales."""
    canvas = Canvas(360, 320, theme)
    x = scale(ends[0], ends[1], _LEFT, canvas.width - 12)
    y = scale(ends[2], ends[3], canvas.height - _BOTTOM, _TOP)
    for tick in ticks(ends[0], ends[1]):
        canvas.line(x(tick), _TOP, x(tick), canvas.height - _BOTTOM, theme.grid)
        canvas.text(x(tick), canvas.height - _BOTTOM + 16, label(tick), theme.muted, "middle", 11)
    for tick in ticks(ends[2], ends[3]):
        canvas.line(_LEFT, y(tick), canvas.width - 12, y(tick), theme.grid)
        canvas.text(_LEFT - 6, y(tick) + 4, label(tick), theme.muted, "end", 11)
    canvas.text((_LEFT + canvas.width) / 2, canvas.height - 8, names[0], theme.muted, "middle")
    canvas.text(13, (canvas.height - _BOTTOM + _TOP) / 2, names[1], theme.muted, "middle", turn=-90)
    return canvas, x, y


def curve(
    points: Sequence[tuple[float, float]],
    names: tuple[str, str],
    theme: Theme,
    diagonal: bool = False,
    level: float | None = None,
) -> Canvas:
    """A curve in the unit square, with the chance line: the diagonal, or a level."""
    canvas, x, y = _plane(theme, (0, 1, 0, 1), names)
    if diagonal:
        canvas.line(x(0), y(0), x(1), y(1), theme.muted, 1, "4 4")
    if level is not None:
        canvas.line(x(0), y(level), x(1), y(level), theme.muted, 1, "4 4")
    canvas.path([(x(a), y(b)) for a, b in points], theme.main)
    return canvas


def calibration(points: Sequence[tuple[float, float, float, float]], what: str, theme: Theme) -> Canvas:
    """Said probability against what happened: (said, happened, low, high) for each bin. `what`: `positive`, `right`."""
    canvas, x, y = _plane(theme, (0, 1, 0, 1), ("probability that the model gave", f"share that was {what}"))
    canvas.line(x(0), y(0), x(1), y(1), theme.muted, 1, "4 4")
    for said, happened, low, high in points:
        canvas.line(x(said), y(low), x(said), y(high), theme.main, 1.5)
        canvas.dot(x(said), y(happened), theme.main)
    return canvas


def cloud(across: np.ndarray, up: np.ndarray, names: tuple[str, str], theme: Theme, cells: int = 40) -> Canvas:
    """How many rows lie where: the more, the stronger a cell of the grid. The outermost 0.5 % are cut off."""
    ends = (*_ends(across), *_ends(up))
    canvas, x, y = _plane(theme, ends, names)
    counts, edges_x, edges_y = np.histogram2d(across, up, bins=cells, range=[ends[:2], ends[2:]])
    most = np.sqrt(counts.max() or 1)
    for i, j in zip(*np.nonzero(counts), strict=True):
        left, right = x(edges_x[i]), x(edges_x[i + 1])
        low, high = y(edges_y[j]), y(edges_y[j + 1])
        canvas.rect(left, high, right - left, low - high, theme.main, 0.12 + 0.88 * float(np.sqrt(counts[i, j])) / most)
    if ends[2] < 0 < ends[3]:
        canvas.line(x(ends[0]), y(0.0), x(ends[1]), y(0.0), theme.muted, 1, "4 4")
    return canvas


def _ends(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, [0.005, 0.995])
    return (float(low), float(high)) if low < high else (float(low) - 0.5, float(high) + 0.5)


def pairs(reference: Sequence[float], current: Sequence[float], theme: Theme) -> Canvas:
    """Small histograms beside each other, bin by bin: reference and current shares."""
    step = 12.0
    canvas = Canvas(max(60.0, step * len(reference) + 4), 40, theme)
    most = max([*reference, *current, 1e-9])
    for i, (before, now) in enumerate(zip(reference, current, strict=True)):
        left = 2 + step * i
        canvas.rect(left, 38 - 36 * before / most, 5, 36 * before / most, theme.muted)
        canvas.rect(left + 5, 38 - 36 * now / most, 5, 36 * now / most, theme.other)
    canvas.line(0, 38.5, canvas.width, 38.5, theme.grid)
    return canvas


# ---- numbers behind them -----------------------------------------------------------------------------------------


def roc_points(positive: np.ndarray, score: np.ndarray, weight: np.ndarray) -> list[tuple[float, float]]:
    """False against true positive rate, at most 200 points."""
    hit, alarm = _steps(positive, score, weight)
    return _thin(np.r_[0, alarm / alarm[-1]], np.r_[0, hit / hit[-1]])


def area(points: Sequence[tuple[float, float]]) -> float:
    """Area under a curve of straight lines between these points."""
    across, up = np.array(points).T
    return float(np.trapezoid(up, across))


def precision_points(positive: np.ndarray, score: np.ndarray, weight: np.ndarray) -> list[tuple[float, float]]:
    """Recall against precision, at most 200 points."""
    hit, alarm = _steps(positive, score, weight)
    return _thin(hit / hit[-1], hit / np.maximum(hit + alarm, 1e-300))


def calibration_points(
    positive: np.ndarray, score: np.ndarray, bins: int = 10
) -> list[tuple[float, float, float, float]]:
    """Ten equally filled bins: mean probability, share of positives, and its 95 % score interval."""
    from stages.gate.bounds import wilson

    points = []
    for rows in np.array_split(np.argsort(score, kind="stable"), bins):
        if len(rows):
            share = float(positive[rows].mean())
            points.append((float(score[rows].mean()), share, *wilson(share, len(rows))))
    return points


def _steps(positive: np.ndarray, score: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.r_[score[order][1:] != score[order][:-1], True])
    hit = np.cumsum(weight[order] * positive[order])[last]
    return hit, np.cumsum(weight[order])[last] - hit


def _thin(x: np.ndarray, y: np.ndarray, most: int = 200) -> list[tuple[float, float]]:
    chosen = np.unique(np.linspace(0, len(x) - 1, min(most, len(x))).round().astype(int))
    return [(float(x[i]), float(y[i])) for i in chosen]
