"""Parts of the charts that show the statistics of a dataset."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

MOST_BARS, FEWEST_BARS = 40, 10
BLUES = ("#9ecae1", "#4292c6", "#08519c")
GREY = "#969696"


def new_figure(width: float, height: float) -> Figure:
    """An empty figure; sides in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def bar_height(classes: dict) -> float:
    """Inches that a bar a class takes."""
    return 1.2 + 0.24 * min(max(len(classes), FEWEST_BARS), MOST_BARS)


def largest_classes(classes: dict[str, dict], key: str) -> dict[str, dict]:
    """The classes with most of ``key``, the first at the top of a bar chart."""
    ordered = sorted(classes.items(), key=lambda item: item[1][key] or 0)
    return dict(ordered[-MOST_BARS:])


def draw_bars(
    axes: Axes,
    names: list[str],
    stacked: Sequence[Sequence[float]],
    colours: Sequence[str],
    parts: Sequence[str] = (),
) -> None:
    """Horizontal bars, one for each name, of stacked parts."""
    start = np.zeros(len(names))
    for number, (values, colour) in enumerate(zip(stacked, colours, strict=True)):
        label = parts[number] if parts else None
        axes.barh(range(len(names)), values, left=start, color=colour, label=label)
        start += np.asarray(values, float)
    axes.set_yticks(range(len(names)), names)
    axes.grid(axis="x", alpha=0.3)
    # Few classes do not get bars as thick as a fist.
    axes.set_ylim(len(names) - 0.4 - max(len(names), FEWEST_BARS), len(names) - 0.4)
    if parts:
        axes.legend(loc="lower right")


def draw_box_sides(axes: Axes, values: np.ndarray) -> None:
    """Box sides in steps of equal ratio."""
    if len(values):
        low, high = max(1.0, values.min()), max(2.0, values.max())
        axes.hist(values, bins=np.geomspace(low, high, 25), color=BLUES[1])
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("side of a box (root of its area), pixels")
    axes.grid(alpha=0.3)


def draw_whole_numbers(axes: Axes, values: np.ndarray) -> None:
    """A histogram of counts."""
    top = int(values.max(initial=0))
    step = -(-(top + 1) // 25)
    axes.hist(values, bins=np.arange(0, top + 1 + step, step) - 0.5, color=BLUES[1])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)


def draw_image_sizes(axes: Axes, sizes: np.ndarray) -> None:
    """One dot a size, larger where more images have it."""
    found, counts = np.unique(sizes, axis=0, return_counts=True)
    if len(found):
        area = 20 + 180 * counts / counts.max()
        axes.scatter(found[:, 0], found[:, 1], s=area, color=BLUES[1], alpha=0.6, linewidths=0)
        top = 1.1 * found.max()
        axes.plot([0, top], [0, top], color=GREY, linewidth=0.8, linestyle=":")
        axes.set(xlim=(0, top), ylim=(0, top))
    axes.set(xlabel="width", ylabel="height", title="image sizes", aspect="equal")
    axes.grid(alpha=0.3)
