"""Charts as SVG text inside a page: sharp at any size, without separate files."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator

# Runs have these colours in a fixed order; from the ninth run on, the dashes differ.
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#e377c2")
DASHES = ("-", "--", ":", "-.")
SIZE = (4.4, 3.0)  # inches; readable at the width of a phone
MAX_NAME = 32  # characters of a name in a legend
SETTINGS = {
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # class names may contain $
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True)
class Line:
    """A line of a chart. Points with nan are left out; a single point gets a marker."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    number: int = 0  # index of the run, which gives the colour


def line_style(number: int) -> dict[str, str]:
    """Colour and dashes of a run's lines."""
    dashes = DASHES[number // len(COLOURS) % len(DASHES)]
    return dict(color=COLOURS[number % len(COLOURS)], linestyle=dashes)


def line_chart(
    title: str, lines: Sequence[Line], xlabel: str, log: bool = False, unit: str = ""
) -> Markup | None:
    """Lines over the training; None without points."""
    lines = [replace(line, ys=[_finite(y) for y in line.ys]) for line in lines]
    lines = [line for line in lines if not all(map(math.isnan, line.ys))]
    if not lines:
        return None
    with matplotlib.rc_context(SETTINGS):
        figure, axes = _figure()
        for line in lines:
            mark = "o" if len(line.xs) < 20 else None
            axes.plot(
                line.xs, line.ys, label=shorten(line.name), marker=mark, markersize=3,
                linewidth=1.4, **line_style(line.number),
            )  # fmt: skip
        if log:
            axes.set_yscale("log", nonpositive="mask")
            axes.yaxis.set_major_formatter(LogFormatter())  # the default writes formulas
            axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set(title=title, xlabel=xlabel, ylabel=unit)
        _legend(axes, lines)
        return _svg(figure, title)


def curve_chart(title: str, lines: Sequence[Line]) -> Markup | None:
    """Precision over recall, both in [0, 1]; None without lines."""
    if not lines:
        return None
    with matplotlib.rc_context(SETTINGS):
        figure, axes = _figure()
        for line in lines:
            mark = "o" if len(line.xs) == 1 else None
            axes.plot(
                line.xs, line.ys, label=shorten(line.name), marker=mark, linewidth=1.4,
                **line_style(line.number),
            )  # fmt: skip
        axes.set(title=title, xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
        _legend(axes, lines)
        return _svg(figure, title)


def bar_chart(title: str, names: Sequence[str], values: Sequence[float], unit: str) -> Markup:
    """Horizontal bars, with the first one at the top."""
    with matplotlib.rc_context(SETTINGS):
        figure, axes = _figure(height=1.1 + 0.2 * max(len(names), 4))
        positions = range(len(names))
        axes.barh(positions, values, color=COLOURS[0])
        axes.set_yticks(positions, [shorten(name) for name in names])
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set(title=title, xlabel=unit, xlim=(0, 1.25 * max(values, default=1) or 1))
        axes.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3))
        for position, value in zip(positions, values, strict=True):
            axes.text(value, position, f" {value:.3g}", va="center", fontsize=8)
        return _svg(figure, title)


def shorten(name: str) -> str:
    """Shortens a name for a legend; matplotlib would hide a name with a leading underscore."""
    name = " ".join(name.split()) or "(no name)"
    name = name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"
    return f" {name}" if name.startswith("_") else name


def _finite(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else math.nan


def _figure(height: float = SIZE[1]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(SIZE[0], height), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(alpha=0.3)
    axes.title.set_fontsize(11)
    return figure, axes


def _legend(axes: Axes, lines: Sequence[Line]) -> None:
    if len(lines) > 1:
        axes.legend(fontsize=8, framealpha=0.7)


def _svg(figure: Figure, title: str) -> Markup:
    """The figure as an SVG element that fills the width of its box."""
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": title}):  # the same figure gives the same SVG
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    width, height = (round(72 * side) for side in figure.get_size_inches())
    start = text.index(">", text.index("<svg")) + 1
    head = (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{{}}" '
        'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return Markup(head).format(title) + Markup(text[start:])
