"""Looking at panoptic data: segments over images, how many there are of each class."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from PIL import Image

from convnext_dense.browse import charts
from convnext_dense.browse.samples import Sample, build_dataset
from convnext_dense.browse.samples_page import DataBrowser
from convnext_dense.browse.statistics_table import (
    five_numbers,
    format_classes,
    format_rows,
    picture_sizes,
)
from convnext_dense.config.config_tree import datasets
from convnext_dense.panoptic.draw_results import draw_segments, true_segments


@dataclass(frozen=True)
class Findings:
    """What panoptic data holds.

    Attributes:
        summary: Figures, for ``statistics.json``.
        per_picture: Segments of every image.
        sizes: ``(width, height)`` of every image (n, 2).
    """

    summary: dict[str, Any]
    per_picture: np.ndarray
    sizes: np.ndarray


def overlay(sample: Sample, colours: np.ndarray, classes: tuple[str, ...]) -> Image.Image:
    """The image under its segments, with their names."""
    segments = true_segments(sample.truth)
    height, width = segments.ids.shape
    return draw_segments(sample.image[:height, :width], segments, classes, colours)


def shown_classes(sample: Sample) -> list[int]:
    """The classes that occur in a sample."""
    return sorted(set(true_segments(sample.truth).labels.values()))


def collect(cfg: Any, split: str, used: BaseDataset, classes: tuple[str, ...]) -> Findings:
    """Reads the statistics of all images, also of those that training leaves out.

    Args:
        cfg: Resolved config.
        split: ``train`` or ``val``.
        used: The dataset as it is trained on or evaluated.
        classes: Class names, by label.
    """
    (config,) = datasets(cfg, split)
    everything = build_dataset(config, test_mode=True, pipeline=[])
    infos = [everything.get_data_info(index) for index in range(len(everything))]
    rated = [[s for s in info["segments_info"] if not s["is_crowd"]] for info in infos]
    segments = Counter(one["category"] for of_image in rated for one in of_image)
    pictures = Counter(label for of_image in rated for label in {s["category"] for s in of_image})
    per_picture = np.array([len(of_image) for of_image in rated], int)
    sizes = [(info["width"], info["height"]) for info in infos]
    things = set(everything.metainfo["thing_classes"])
    summary = {
        "task": "panoptic",
        "split": split,
        "pictures": len(infos),
        "pictures_used": len(used),
        "segments": int(per_picture.sum()),
        "crowds": sum(len(info["segments_info"]) for info in infos) - int(per_picture.sum()),
        "segments_per_picture": five_numbers(per_picture),
        "picture_sizes": picture_sizes(sizes),
        "classes": {
            name: {
                "kind": "thing" if name in things else "stuff",
                "segments": segments[label],
                "pictures": pictures[label],
            }
            for label, name in enumerate(classes)
        },
    }
    return Findings(summary, per_picture, np.array(sizes, int).reshape(-1, 2))


def table(summary: dict[str, Any]) -> str:
    """The statistics as lines for people: the whole first, then a row a class."""
    left_out = summary["pictures"] - summary["pictures_used"]
    lines = [
        f"{summary['pictures']:,} images; {left_out:,} left out of the {summary['split']} split",
        f"{summary['segments']:,} segments, and {summary['crowds']:,} crowds, which are not rated",
    ]
    quantities = [
        ("", "least", "5 %", "median", "95 %", "most"),
        ("segments an image", *summary["segments_per_picture"].values()),
        ("image width", *summary["picture_sizes"]["width"].values()),
        ("image height", *summary["picture_sizes"]["height"].values()),
    ]
    rows = format_classes(summary["classes"], ("segments", "pictures"), "segments")
    return "\n".join([*lines, "", format_rows(quantities), "", rows])


def draw_charts(found: Findings, path: Path) -> None:
    """Segments of each class, segments an image, and image sizes."""
    classes = found.summary["classes"]
    figure = charts.new_figure(12, max(3.4, charts.bar_height(classes)))
    bars, numbers, sizes = figure.subplots(1, 3, width_ratios=[1.25, 1, 1])
    rows = charts.largest_classes(classes, "segments")
    charts.draw_bars(bars, list(rows), [[r["segments"] for r in rows.values()]], charts.BLUES[1:2])
    bars.set(xlabel="segments", title=f"{found.summary['segments']:,} segments")
    charts.draw_whole_numbers(numbers, found.per_picture)
    numbers.set(title="crowding", xlabel="segments of an image", ylabel="images")
    charts.draw_image_sizes(sizes, found.sizes)
    sizes.set_anchor("N")
    figure.savefig(path, dpi=110)


BROWSER = DataBrowser(overlay, shown_classes, collect, table, draw_charts)
