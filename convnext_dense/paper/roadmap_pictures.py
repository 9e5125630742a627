"""Pictures of the roadmap: each step's change in its layers, and a chart of all steps."""

from collections.abc import Sequence
from difflib import SequenceMatcher
from math import log2
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from convnext_dense.models.roadmap_steps import REGIMES, design_at
from convnext_dense.paper.roadmap import build_on_meta
from convnext_dense.paper.roadmap_chart import SIDE_STEPS, Rows, draw_chart
from convnext_dense.paper.roadmap_layers import Layer, Part, parts

FILL = {"conv": "#c6dbef", "norm": "#e5e5e5", "act": "#c7e9c0", "other": "#fdf3d0"}
GONE, NEW = "#d62728", "#e6820e"  # edges of what a step takes away and adds
PLAIN = "#555555"
HEIGHT = {"conv": 0.62, "norm": 0.34, "act": 0.34, "other": 0.34}
GAP = 0.2
COLUMN = 4.4  # units between two parts
BRANCH = 1.75  # from the branch to the shortcut


def draw(folder: str | Path, found: Rows) -> list[Path]:
    """Draws everything: a picture a step of the smaller regime, and the chart.

    Args:
        folder: Made where it is missing.
        found: Rows of :func:`convnext_dense.paper.roadmap.measure` by regime.

    Returns:
        The files, in the steps' order, the chart last.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    regime, files, before = "resnet50", [], None
    for step in (one.name for one in REGIMES[regime].steps):
        if step in SIDE_STEPS:
            continue
        after = parts(build_on_meta(regime, step))
        path = folder / f"roadmap_{step}.png"
        if step == "stage_ratio":
            _draw_stages(path, [design_at(regime, one).stage_ratio for one in ("resnet", step)])
        else:
            _draw_parts(path, before, after)
        files.append(path)
        before = after
    draw_chart(folder / "roadmap.png", found)
    return [*files, folder / "roadmap.png"]


def _draw_parts(path: Path, before: dict[str, Part] | None, after: dict[str, Part]) -> None:
    """The parts that a step changes, before and after it; all of them where nothing was before."""
    columns = []
    for name, part in after.items():
        if before is None:
            columns.append((name, part, frozenset(), PLAIN))
        elif before[name] != part:
            gone, new = _differences(before[name], part)
            columns += [
                (f"{name}, before", before[name], gone, GONE),
                (f"{name}, now", part, new, NEW),
            ]
    deepest = max(_depth(part) for _, part, _, _ in columns)
    width = COLUMN * len(columns)
    figure = Figure(figsize=(0.62 * width, 0.62 * (deepest + 1.1)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-COLUMN / 2 + 0.25, width - COLUMN / 2 + 0.25), ylim=(-deepest - 0.2, 0.9))
    axes.axis("off")
    for i, (title, part, marked, edge) in enumerate(columns):
        axes.text(i * COLUMN, 0.55, title, ha="center", va="center", weight="bold", fontsize=10)
        _draw_part(axes, i * COLUMN, part, marked, edge)
    figure.savefig(path, dpi=80)


def _layers(part: Part) -> list[tuple[str, int, Layer]]:
    return [
        (place, i, layer)
        for place in ("before", "branch", "shortcut", "after")
        for i, layer in enumerate(getattr(part, place))
    ]


def _differences(one: Part, other: Part) -> tuple[frozenset, frozenset]:
    """Places of the layers that only one of the two has."""
    gone, new = [], []
    for place in ("before", "branch", "shortcut", "after"):
        a, b = getattr(one, place), getattr(other, place)
        for kind, i, j, k, m in SequenceMatcher(a=a, b=b, autojunk=False).get_opcodes():
            if kind != "equal":
                gone += [(place, n) for n in range(i, j)]
                new += [(place, n) for n in range(k, m)]
    return frozenset(gone), frozenset(new)


def _length(layers: Sequence[Layer]) -> float:
    return sum(HEIGHT[layer.kind] + GAP for layer in layers)


def _depth(part: Part) -> float:
    inner = max(_length(part.branch), _length(part.shortcut))
    return _length(part.before) + inner + _length(part.after) + (1.2 if part.branch else 0.3)


def _draw_part(axes: Axes, x: float, part: Part, marked: frozenset, edge: str) -> None:
    """A column from top to bottom; a block's shortcut runs at its right."""
    y = _draw_column(axes, x, 0.1, "before", part.before, marked, edge)
    if not part.branch:
        return
    fork = y - 0.1
    axes.plot([x, x], [fork + 0.25, fork - 0.25], color=PLAIN, linewidth=1, zorder=0)
    end = _draw_column(axes, x, fork - 0.25, "branch", part.branch, marked, edge)
    plus = end - 0.2
    right = x + BRANCH
    axes.plot([x, right, right, x], [fork, fork, plus, plus], color=PLAIN, linewidth=1, zorder=0)
    _draw_column(axes, right, (fork + plus + _length(part.shortcut)) / 2, "shortcut",
                 part.shortcut, marked, edge)  # fmt: skip
    axes.plot([x, x], [end + GAP, plus - 0.4], color=PLAIN, linewidth=1, zorder=0)
    axes.text(x, plus, "+", ha="center", va="center", fontsize=12,
              bbox=dict(boxstyle="circle,pad=0.1", fc="white", ec=PLAIN))  # fmt: skip
    _draw_column(axes, x, plus - 0.4, "after", part.after, marked, edge)


def _draw_column(
    axes: Axes,
    x: float,
    y: float,
    place: str,
    layers: Sequence[Layer],
    marked: frozenset,
    edge: str,
) -> float:
    """Boxes below ``y``; returns where the next one would begin."""
    for i, layer in enumerate(layers):
        bottom = y - HEIGHT[layer.kind]
        top, low = (_width(c) for c in layer.channels or (0, 0))
        corners = [(x - top, y), (x + top, y), (x + low, bottom), (x - low, bottom)]
        changed = (place, i) in marked
        axes.plot([x, x], [bottom, bottom - GAP], color=PLAIN, linewidth=1, zorder=0)
        axes.add_patch(
            Polygon(
                corners,
                facecolor=FILL[layer.kind],
                edgecolor=edge if changed else PLAIN,
                linewidth=2.2 if changed else 0.8,
            )
        )
        axes.text(x, (y + bottom) / 2, layer.text, ha="center", va="center", fontsize=8)
        y = bottom - GAP
    return y


def _width(channels: int) -> float:
    """Half the width of a convolution's end: a third more for twice the channels."""
    return 0.75 if not channels else min(1.6, max(0.75, 0.75 + 0.17 * (log2(channels) - 6)))


def _draw_stages(path: Path, ratios: Sequence[Sequence[int]]) -> None:
    """The blocks of the stages as rows of squares."""
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
                edge = (GONE, NEW)[row] if changed else PLAIN
                axes.add_patch(Polygon(corners, facecolor=FILL["conv"], edgecolor=edge))
                x += 0.85
            axes.text(x - count * 0.425 - 0.08, -row + 0.45, f"{count}", ha="center", fontsize=9)
            x += 0.6
    axes.set(xlim=(-2.4, 18.2), ylim=(-1.5, 0.9))
    axes.axis("off")
    figure.savefig(path, dpi=80)
