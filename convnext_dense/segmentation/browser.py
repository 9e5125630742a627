"""Looking at segmentation data: labels over images, the share of each class."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.registry import TRANSFORMS
from PIL import Image

from convnext_dense.browse import charts, drawing
from convnext_dense.browse.samples import TRUTH_STEPS, Sample
from convnext_dense.browse.samples_page import DataBrowser
from convnext_dense.browse.statistics_table import (
    five_numbers,
    format_classes,
    format_rows,
    picture_sizes,
)
from convnext_dense.config.config_tree import datasets
from convnext_dense.runs.progress import new_progress

IGNORED = 255
STRIPE = 8  # pixels


@dataclass(frozen=True)
class Findings:
    """What segmentation data holds.

    Attributes:
        summary: Figures, for ``statistics.json``.
        sizes: ``(width, height)`` of every image (n, 2).
    """

    summary: dict[str, Any]
    sizes: np.ndarray


def overlay(sample: Sample, colours: np.ndarray, classes: tuple[str, ...]) -> Image.Image:
    """The image under the colours of its labels; what is ignored is striped."""
    labels = _labels(sample)
    height, width = labels.shape
    return paint(sample.image[:height, :width], labels, colours)


def paint(image: np.ndarray, labels: np.ndarray, colours: np.ndarray) -> Image.Image:
    """Colours an RGB image (height, width, 3) by its labels (height, width), enlarged if small.

    Args:
        image: The image, uint8.
        labels: Class indices, uint8; ignored pixels are striped.
        colours: RGB of each class (classes, 3).
    """
    table = np.zeros((256, 3))
    table[: len(colours)] = colours
    mixed = 0.35 * image.astype(float) + 0.65 * table[labels]
    rows, columns = np.indices(labels.shape)
    stripes = np.where((rows + columns) // STRIPE % 2, 160, 70)[..., None]
    striped = 0.45 * image + 0.55 * stripes
    mixed = np.where((labels == IGNORED)[..., None], striped, mixed).astype(np.uint8)
    factor = drawing.enlarge(mixed)
    size = (labels.shape[1] * factor, labels.shape[0] * factor)
    return Image.fromarray(mixed).resize(size, Image.Resampling.NEAREST)


def shown_classes(sample: Sample) -> list[int]:
    """The classes that occur in a sample."""
    return [int(label) for label in np.unique(_labels(sample)) if label != IGNORED]


def _labels(sample: Sample) -> np.ndarray:
    return sample.truth.gt_sem_seg.data[0].numpy().astype(np.uint8)


def collect(cfg: Any, split: str, used: BaseDataset, classes: tuple[str, ...]) -> Findings:
    """Reads every label image as training does, with the same checks.

    Args:
        cfg: Resolved config.
        split: ``train`` or ``val``.
        used: The dataset as it is trained on or evaluated.
        classes: Class names, by label.
    """
    read = _label_reader(cfg, split)
    counts = np.zeros((len(used), 256), np.int64)
    sizes = []
    with new_progress() as progress:
        task = progress.add_task("labels", total=len(used), figures="")
        for index in range(len(used)):
            labels = read(used.get_data_info(index))["gt_seg_map"]
            counts[index] = np.bincount(labels.ravel(), minlength=256)
            sizes.append((labels.shape[1], labels.shape[0]))
            progress.advance(task)
    pixels, ignored = counts.sum(), counts[:, IGNORED].sum()
    known = pixels - ignored
    summary = {
        "task": "segmentation",
        "split": split,
        "pictures": len(used),
        "pictures_all_ignored": int((counts[:, :IGNORED].sum(axis=1) == 0).sum()),
        "ignored_share": float(ignored / pixels) if pixels else None,
        "classes_per_picture": five_numbers((counts[:, :IGNORED] > 0).sum(axis=1)),
        "picture_sizes": picture_sizes(sizes),
        "classes": {
            name: {
                "share": float(counts[:, label].sum() / known) if known else None,
                "pictures": int((counts[:, label] > 0).sum()),
            }
            for label, name in enumerate(classes)
        },
    }
    return Findings(summary, np.array(sizes, int).reshape(-1, 2))


def _label_reader(cfg: Any, split: str) -> Callable[[dict], dict]:
    (config,) = datasets(cfg, split)
    (step,) = [step for step in config.pipeline if step["type"].split(".")[-1] in TRUTH_STEPS]
    return TRANSFORMS.build(dict(step))


def table(summary: dict[str, Any]) -> str:
    """The statistics as lines for people: the whole first, then a row a class."""
    ignored = "-" if summary["ignored_share"] is None else f"{100 * summary['ignored_share']:.1f} %"
    lines = [
        f"{summary['pictures']:,} images, {summary['pictures_all_ignored']:,} ignored as a whole",
        f"{ignored} of all pixels are ignored; the shares below are of the others",
    ]
    quantities = [
        ("", "least", "5 %", "median", "95 %", "most"),
        ("classes an image", *summary["classes_per_picture"].values()),
        ("image width", *summary["picture_sizes"]["width"].values()),
        ("image height", *summary["picture_sizes"]["height"].values()),
    ]
    rows = format_classes(summary["classes"], ("share", "pictures"), "share")
    return "\n".join([*lines, "", format_rows(quantities), "", rows])


def draw_charts(found: Findings, path: Path) -> None:
    """The share of each class, the images that show it, and image sizes."""
    classes = found.summary["classes"]
    figure = charts.new_figure(12, max(3.4, charts.bar_height(classes)))
    shares, images, sizes = figure.subplots(1, 3, width_ratios=[1.25, 1, 1])
    rows = charts.largest_classes(classes, "share")
    percents = [100 * (row["share"] or 0) for row in rows.values()]
    charts.draw_bars(shares, list(rows), [percents], charts.BLUES[1:2])
    for place, percent in enumerate(percents):
        shares.text(percent, place, f" {percent:.2g}", va="center")
    ignored = 100 * (found.summary["ignored_share"] or 0)
    shares.set(xlabel="percent of the labelled pixels", title=f"{ignored:.1f} % ignored")
    shares.margins(x=0.15)
    charts.draw_bars(
        images, list(rows), [[row["pictures"] for row in rows.values()]], charts.BLUES[2:]
    )
    images.set(xlabel=f"of {found.summary['pictures']:,} images", title="images that show it")
    charts.draw_image_sizes(sizes, found.sizes)
    sizes.set_anchor("N")
    figure.savefig(path, dpi=110)


BROWSER = DataBrowser(overlay, shown_classes, collect, table, draw_charts)
