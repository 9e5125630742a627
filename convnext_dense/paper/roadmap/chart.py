"""A chart of the accuracy and cost of all steps, like figure 2 of the paper."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from convnext_dense.models.roadmap.steps import REGIMES

COLOURS = {"resnet50": "#4a3f9f", "resnet200": "#7f7f7f"}
OWN_COLOUR = "#d62728"
# Steps that the paper tries and rejects: the next step continues from kernel_size_7.
SIDE_STEPS = ("kernel_size_9", "kernel_size_11")

Rows = Mapping[str, Sequence[Mapping[str, Any]]]


def draw_chart(path: str | Path, rows_by_regime: Rows) -> None:
    """Draws the paper's accuracies, ours if there are any, and the multiply-adds.

    Args:
        path: PNG file to write.
        rows_by_regime: Rows of :func:`convnext_dense.paper.roadmap.costs.count_steps` by regime.
    """
    steps = [row["step"] for row in next(iter(rows_by_regime.values()))]
    figure = Figure(figsize=(10, 6.2), layout="constrained")
    accuracy, cost = figure.subplots(1, 2, sharey=True, width_ratios=(1.6, 1))
    for regime, rows in rows_by_regime.items():
        _draw_accuracy(accuracy, regime, rows)
        _draw_cost(cost, regime, rows)
    has_own = any(row["accuracy"] is not None for rows in rows_by_regime.values() for row in rows)
    title = "ImageNet-1K top-1, %" + (" (stars: ours)" if has_own else "")
    accuracy.set(xlabel=title, ylim=(len(steps) - 0.4, -0.6))
    accuracy.set_yticks(range(len(steps)), [step.replace("_", " ") for step in steps])
    accuracy.margins(x=0.13)
    cost.set(xlabel="GFLOPs (crosses: as printed)", xlim=(0, 19.5))
    for axes in (accuracy, cost):
        axes.grid(axis="y", color="#eeeeee")
        axes.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    save(figure, path)


def save(figure: Figure, path: str | Path) -> None:
    """Writes a PNG with a palette, which has a third of the size."""
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(90)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def _draw_accuracy(axes: Axes, regime: str, rows: Sequence[Mapping[str, Any]]) -> None:
    colour, (peer, peer_accuracy, _) = COLOURS[regime], REGIMES[regime].peer
    route = [row for row in rows if row["step"] not in SIDE_STEPS]
    axes.plot([r["paper_accuracy"] for r in route], [r["index"] for r in route], color=colour,
              linewidth=1)  # fmt: skip
    side = -1 if regime == "resnet50" else 1  # numbers are left of the lower points
    for row in rows:
        point = (row["paper_accuracy"], row["index"])
        fill = "white" if row["step"] in SIDE_STEPS else colour
        title = f"{REGIMES[regime].title}, paper" if row["index"] == 0 else None
        axes.errorbar(*point, xerr=row["paper_std"], fmt="o", color=colour, mfc=fill, capsize=2,
                      label=title)  # fmt: skip
        axes.annotate(f"{point[0]:.2f}", point, xytext=(9 * side, 0), textcoords="offset points",
                      ha="right" if side < 0 else "left", va="center", fontsize=8)  # fmt: skip
        if row["accuracy"] is not None:
            axes.plot(
                row["accuracy"], row["index"], "*", color=OWN_COLOUR, markersize=11, mec=colour
            )
    axes.axvline(peer_accuracy, color=colour, linewidth=1, linestyle="--", label=peer)


def _draw_cost(axes: Axes, regime: str, rows: Sequence[Mapping[str, Any]]) -> None:
    colour = COLOURS[regime]
    axes.barh([r["index"] + (0.19 if regime == "resnet200" else -0.19) for r in rows],
              [r["gflops"] for r in rows], height=0.36, color=colour)  # fmt: skip
    for row in rows:
        y = row["index"] + (0.19 if regime == "resnet200" else -0.19)
        end = row["gflops"]
        if abs(end - row["paper_gflops"]) > 0.01:
            axes.plot(row["paper_gflops"], y, "x", color=OWN_COLOUR)
            end = row["paper_gflops"] + 0.15
        axes.text(end + 0.35, y, f"{row['gflops']:.2f}", va="center", fontsize=7)
