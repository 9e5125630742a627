"""Statistics as one picture of bar charts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from convnext_dense.browse import instances, labels

MOST_BARS, FEWEST_BARS = 40, 10
BLUES = ("#9ecae1", "#4292c6", "#08519c")
GREY = "#969696"


def draw_instances(found: instances.Findings, path: Path) -> None:
    """Instances a class by size, box sizes, instances a picture and picture sizes."""
    classes = found.summary["classes"]
    figure = _figure(9.5, max(8.0, _bar_height(classes)))
    panels = figure.subplot_mosaic("as;an;ap", width_ratios=[1.1, 1])
    rows = _largest(classes, "instances")
    stacked = [[row[kind] for row in rows.values()] for kind in instances.SIZES]
    _bars(panels["a"], list(rows), stacked, BLUES, instances.SIZES)
    total = f"{found.summary['instances']:,} instances of {len(classes):,} classes"
    panels["a"].set(xlabel="instances", title=total)
    _sides(panels["s"], found.sides)
    for limit in (instances.SMALL, instances.LARGE):
        panels["s"].axvline(limit, color="black", linewidth=0.8, linestyle="--")
    panels["s"].set(title="box sizes: small | medium | large", ylabel="boxes")
    _whole_numbers(panels["n"], found.per_picture)
    panels["n"].set(title="crowding", xlabel="instances of a picture", ylabel="pictures")
    _scatter(panels["p"], found.sizes)
    figure.savefig(path, dpi=110)


def draw_labels(found: labels.Findings, path: Path) -> None:
    """The share of each class, the pictures that show it, and picture sizes."""
    classes = found.summary["classes"]
    figure = _figure(12, max(3.4, _bar_height(classes)))
    shares, pictures, sizes = figure.subplots(1, 3, width_ratios=[1.25, 1, 1])
    rows = _largest(classes, "share")
    percents = [100 * (row["share"] or 0) for row in rows.values()]
    _bars(shares, list(rows), [percents], BLUES[1:2])
    for place, percent in enumerate(percents):
        shares.text(percent, place, f" {percent:.2g}", va="center")
    ignored = 100 * (found.summary["ignored_share"] or 0)
    shares.set(xlabel="percent of the labelled pixels", title=f"{ignored:.1f} % ignored")
    shares.margins(x=0.15)
    _bars(pictures, list(rows), [[row["pictures"] for row in rows.values()]], BLUES[2:])
    pictures.set(xlabel=f"of {found.summary['pictures']:,} pictures", title="pictures that show it")
    _scatter(sizes, found.sizes)
    sizes.set_anchor("N")
    figure.savefig(path, dpi=110)


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def _bar_height(classes: dict) -> float:
    """Inches that a bar a class takes."""
    return 1.2 + 0.24 * min(max(len(classes), FEWEST_BARS), MOST_BARS)


def _largest(classes: dict[str, dict], key: str) -> dict[str, dict]:
    """The classes with most of ``key``, the first at the top of a bar chart."""
    ordered = sorted(classes.items(), key=lambda item: item[1][key] or 0)
    return dict(ordered[-MOST_BARS:])


def _bars(
    axes: Axes,
    names: list[str],
    stacked: Sequence[Sequence[float]],
    colours: Sequence[str],
    parts: Sequence[str] = (),
) -> None:
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


def _sides(axes: Axes, values: np.ndarray) -> None:
    """Box sides in steps of equal ratio."""
    if len(values):
        low, high = max(1.0, values.min()), max(2.0, values.max())
        axes.hist(values, bins=np.geomspace(low, high, 25), color=BLUES[1])
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("side of a box (root of its area), pixels")
    axes.grid(alpha=0.3)


def _whole_numbers(axes: Axes, values: np.ndarray) -> None:
    top = int(values.max(initial=0))
    step = -(-(top + 1) // 25)
    axes.hist(values, bins=np.arange(0, top + 1 + step, step) - 0.5, color=BLUES[1])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)


def _scatter(axes: Axes, sizes: np.ndarray) -> None:
    """One dot a size, larger where more pictures have it."""
    found, counts = np.unique(sizes, axis=0, return_counts=True)
    if len(found):
        area = 20 + 180 * counts / counts.max()
        axes.scatter(found[:, 0], found[:, 1], s=area, color=BLUES[1], alpha=0.6, linewidths=0)
        top = 1.1 * found.max()
        axes.plot([0, top], [0, top], color=GREY, linewidth=0.8, linestyle=":")
        axes.set(xlim=(0, top), ylim=(0, top))
    axes.set(xlabel="width", ylabel="height", title="picture sizes", aspect="equal")
    axes.grid(alpha=0.3)
