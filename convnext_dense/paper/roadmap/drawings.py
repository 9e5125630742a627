"""Diagrams of the roadmap: the layers that each step changes, and a chart of all steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from math import log2
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from convnext_dense.models.roadmap.steps import REGIMES, design_at
from convnext_dense.paper.roadmap.chart import SIDE_STEPS, Rows, draw_chart, save
from convnext_dense.paper.roadmap.costs import build_on_meta
from convnext_dense.paper.roadmap.layers import Layer, Part, network_parts

FILL = {"conv": "#c6dbef", "norm": "#e5e5e5", "act": "#c7e9c0", "other": "#fdf3d0"}
REMOVED, ADDED = "#d62728", "#e6820e"  # edges of layers that a step removes or adds
PLAIN = "#555555"
HEIGHT = {"conv": 0.62, "norm": 0.34, "act": 0.34, "other": 0.34}
GAP = 0.2
INCHES = 0.5  # of a unit
DEFAULT_WIDTH, MAX_WIDTH = 1.0, 1.8  # half widths of boxes
SECTIONS = ("before", "branch", "shortcut", "after")


@dataclass(frozen=True)
class Column:
    """A part of a diagram; the edges of marked layers are coloured."""

    title: str
    part: Part
    marked: frozenset[tuple[str, int]] = frozenset()
    edge: str = PLAIN

    @property
    def shortcut_offset(self) -> float:
        """Distance from the branch to the shortcut."""
        return 2 * MAX_WIDTH + 0.2 if self.part.shortcut else MAX_WIDTH + 0.2

    @property
    def width(self) -> float:
        """Distance from the left end of the branch to that of the next column."""
        right = self.shortcut_offset if self.part.branch else MAX_WIDTH
        return MAX_WIDTH + right + (MAX_WIDTH + 0.4 if self.part.shortcut else 0.6)


def draw_roadmap(folder: str | Path, rows_by_regime: Rows) -> list[Path]:
    """Draws a diagram for each step of the smaller regime, and the chart.

    Args:
        folder: Output folder; it is created if it is missing.
        rows_by_regime: Rows of :func:`convnext_dense.paper.roadmap.costs.count_steps` by regime.

    Returns:
        The files, in the steps' order, the chart last.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    regime, files, before = "resnet50", [], None
    for step in (known.name for known in REGIMES[regime].steps):
        if step in SIDE_STEPS:
            continue
        after = network_parts(build_on_meta(regime, step))
        path = folder / f"roadmap_{step}.png"
        if step == "stage_ratio":
            _draw_stages(path, [design_at(regime, name).stage_ratio for name in ("resnet", step)])
        else:
            _draw_parts(path, before, after)
        files.append(path)
        before = after
    draw_chart(folder / "roadmap.png", rows_by_regime)
    return [*files, folder / "roadmap.png"]


def _draw_parts(path: Path, before: dict[str, Part] | None, after: dict[str, Part]) -> None:
    """Draws the parts that a step changes, before and after it; all parts for the first step."""
    columns = []
    for name, part in after.items():
        if before is None:
            columns.append(Column(name, part))
        elif _has_changed(before[name], part):
            removed, added = differences(before[name], part)
            columns += [
                Column(f"{name}, before", before[name], removed, REMOVED),
                Column(f"{name}, now", part, added, ADDED),
            ]
    deepest = max(_depth(column.part) for column in columns)
    width = sum(column.width for column in columns)
    figure = Figure(figsize=(INCHES * (width + 0.3), INCHES * (deepest + 1.1)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-0.3, width), ylim=(-deepest - 0.2, 0.9))
    axes.axis("off")
    x = MAX_WIDTH
    for column in columns:
        axes.text(x, 0.55, column.title, ha="center", va="center", weight="bold", fontsize=9)
        _draw_part(axes, x, column)
        x += column.width
    save(figure, path)


def _has_changed(before: Part, after: Part) -> bool:
    """Whether a part has changed; changed channels of a stem or a head are ignored."""
    if after.branch:
        return before != after
    return [layer.kind for layer in before.before] != [layer.kind for layer in after.before]


def differences(before: Part, after: Part) -> tuple[frozenset, frozenset]:
    """Positions of the layers that only ``before`` has, and that only ``after`` has."""
    removed, added = [], []
    for section in SECTIONS:
        a, b = getattr(before, section), getattr(after, section)
        if len(a) == len(b):
            spans = [(n, n + 1, n, n + 1) for n in range(len(a)) if a[n] != b[n]]
        else:
            codes = SequenceMatcher(a=a, b=b, autojunk=False).get_opcodes()
            spans = [span for kind, *span in codes if kind != "equal"]
        for i, j, k, m in spans:
            removed += [(section, n) for n in range(i, j)]
            added += [(section, n) for n in range(k, m)]
    return frozenset(removed), frozenset(added)


def _length(layers: Sequence[Layer]) -> float:
    return sum(HEIGHT[layer.kind] + GAP for layer in layers)


def _depth(part: Part) -> float:
    inner = max(_length(part.branch), _length(part.shortcut))
    return _length(part.before) + inner + _length(part.after) + (1.2 if part.branch else 0.3)


def _draw_part(axes: Axes, x: float, column: Column) -> None:
    """Draws a column from top to bottom, with a block's shortcut on the right."""
    part = column.part
    y = _draw_layers(axes, x, 0.1, column, "before")
    if not part.branch:
        return
    fork = y - 0.1
    _line(axes, [x, x], [fork + 0.25, fork - 0.25])
    end = _draw_layers(axes, x, fork - 0.25, column, "branch")
    plus, right = end - 0.2, x + column.shortcut_offset
    _line(axes, [x, right, right, x], [fork, fork, plus, plus])
    _draw_layers(axes, right, (fork + plus + _length(part.shortcut)) / 2, column, "shortcut")
    _line(axes, [x, x], [end + GAP, plus - 0.4])
    circle = dict(boxstyle="circle,pad=0.1", facecolor="white", edgecolor=PLAIN)
    axes.text(x, plus, "+", ha="center", va="center", fontsize=11, bbox=circle)
    _draw_layers(axes, x, plus - 0.4, column, "after")


def _draw_layers(axes: Axes, x: float, y: float, column: Column, section: str) -> float:
    """Draws boxes below ``y``; returns the top of the next box."""
    for i, layer in enumerate(getattr(column.part, section)):
        bottom = y - HEIGHT[layer.kind]
        top, low = (
            (_half_width(c) for c in layer.channels)
            if layer.channels
            else (DEFAULT_WIDTH, DEFAULT_WIDTH)
        )
        marked = (section, i) in column.marked
        _line(axes, [x, x], [bottom, bottom - GAP])
        axes.add_patch(
            Polygon(
                [(x - top, y), (x + top, y), (x + low, bottom), (x - low, bottom)],
                facecolor=FILL[layer.kind],
                edgecolor=column.edge if marked else PLAIN,
                linewidth=2.2 if marked else 0.8,
            )
        )
        axes.text(x, (y + bottom) / 2, layer.text, ha="center", va="center", fontsize=7.5)
        y = bottom - GAP
    return y


def _line(axes: Axes, x: Sequence[float], y: Sequence[float]) -> None:
    axes.plot(x, y, color=PLAIN, linewidth=1, zorder=0)


def _half_width(channels: int) -> float:
    """Half the width of a convolution's end, which grows with the logarithm of the channels."""
    return min(MAX_WIDTH, max(1.1, 1.05 + 0.2 * (log2(channels) - 6)))


def _draw_stages(path: Path, ratios: Sequence[Sequence[int]]) -> None:
    """Draws the blocks of the stages as rows of squares."""
    figure = Figure(figsize=(6.6, 1.5))
    axes = figure.add_axes((0, 0, 1, 1))
    for row, (title, ratio) in enumerate(zip(("before", "now"), ratios, strict=True)):
        axes.text(-0.4, -row, title, ha="right", va="center", weight="bold")
        x = 0.0
        for stage, count in enumerate(ratio):
            for _ in range(count):
                corners = [(x, -row - 0.3), (x + 0.7, -row - 0.3), (x + 0.7, -row + 0.3),
                           (x, -row + 0.3)]  # fmt: skip
                changed = ratios[0][stage] != ratios[1][stage]
                edge = (REMOVED, ADDED)[row] if changed else PLAIN
                axes.add_patch(Polygon(corners, facecolor=FILL["conv"], edgecolor=edge))
                x += 0.85
            axes.text(x - count * 0.425 - 0.08, -row + 0.45, f"{count}", ha="center", fontsize=9)
            x += 0.6
    axes.set(xlim=(-2.4, 18.2), ylim=(-1.5, 0.9))
    axes.axis("off")
    save(figure, path)
