"""A little SVG: shapes with attributes only, since a style inside would be refused, for light and for dark pages."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

from stages.escaping import printable

_FONT = "system-ui, -apple-system, sans-serif"


@dataclass(frozen=True)
class Theme:
    """Colours by role. All text and marks have a contrast of at least 4.5 : 1 (marks 3 : 1) against their page."""

    ink: str
    muted: str
    grid: str
    main: str
    other: str
    bad: str


LIGHT = Theme("#1b1f24", "#57606a", "#d0d7de", "#0a5bb5", "#b35900", "#b42318")
DARK = Theme("#e6edf3", "#a5b0bb", "#3a424b", "#6cb6ff", "#f0a05a", "#ff8a80")


@dataclass
class Canvas:
    """Collects shapes. Lengths are pixels of the view box, y downwards."""

    width: float
    height: float
    theme: Theme
    shapes: list[str] = field(default_factory=list)

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1, dash: str = "") -> None:
        """A straight line."""
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
        self.shapes.append(f'<line {ends} stroke="{colour}" stroke-width="{width:g}"{dashed}/>')

    def path(self, points: Sequence[tuple[float, float]], colour: str, width: float = 2) -> None:
        """A line through points."""
        if points:
            steps = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
            self.shapes.append(f'<path d="M{steps}" fill="none" stroke="{colour}" stroke-width="{width:g}"/>')

    def rect(self, x: float, y: float, width: float, height: float, colour: str, opacity: float = 1) -> None:
        """A filled rectangle."""
        see_through = f' fill-opacity="{opacity:.3f}"' if opacity < 1 else ""
        place = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}"'
        self.shapes.append(f'<rect {place} fill="{colour}"{see_through}/>')

    def dot(self, x: float, y: float, colour: str, radius: float = 4) -> None:
        """A filled circle."""
        self.shapes.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{colour}"/>')

    def text(
        self, x: float, y: float, words: str, colour: str = "", anchor: str = "start", size: float = 12, turn: int = 0
    ) -> None:
        """Words at a baseline; `anchor`: start, middle or end."""
        turned = f' transform="rotate({turn} {x:.1f} {y:.1f})"' if turn else ""
        look = f'fill="{colour or self.theme.ink}" font-size="{size:g}" text-anchor="{anchor}" font-family="{_FONT}"'
        self.shapes.append(f'<text x="{x:.1f}" y="{y:.1f}" {look}{turned}>{escape(printable(words))}</text>')

    def svg(self, title: str) -> str:
        """The file's content. `title` is read out where the image stands alone."""
        title = printable(title)
        size = f'viewBox="0 0 {self.width:g} {self.height:g}" width="{self.width:g}" height="{self.height:g}"'
        start = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label={quoteattr(title)}>'
        return "\n".join([start, f"<title>{escape(title)}</title>", *self.shapes, "</svg>", ""])


def scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """From values to pixels, linearly; values outside are kept at the ends."""
    span = high - low or 1.0
    return lambda value: start + (min(max(value, low), high) - low) / span * (end - start)


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers between two ends."""
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low]
    raw = span / wanted
    unit = 10 ** math.floor(math.log10(raw))
    step = next(unit * nice for nice in (1, 2, 2.5, 5, 10) if unit * nice >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def label(value: float) -> str:
    """A tick's number."""
    return f"{value:.6g}".replace("-", "−")
