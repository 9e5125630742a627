"""Looking at detection data: boxes and masks on images, the statistics of a COCO file."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from PIL import Image, ImageDraw

from convnext_dense.browse import charts, drawing
from convnext_dense.browse.samples import Sample, build_dataset
from convnext_dense.browse.samples_page import DataBrowser
from convnext_dense.browse.statistics_table import (
    five_numbers,
    format_classes,
    format_rows,
    picture_sizes,
    share,
)
from convnext_dense.browse.style import name_size
from convnext_dense.config.config_tree import datasets
from convnext_dense.data.coco.fit_config import annotation_path
from convnext_dense.data.text_files import read_json

# COCO's limits of box sizes, as the side of a square in pixels of the image.
SMALL, LARGE = 32, 96
SIZES = ("small", "medium", "large")
IGNORED = (225, 225, 225)


@dataclass(frozen=True)
class Findings:
    """What detection data holds.

    Attributes:
        summary: Figures, for ``statistics.json``.
        sides: Square root of the area of every box, in pixels.
        per_picture: Instances of every image.
        sizes: ``(width, height)`` of every image (n, 2).
    """

    summary: dict[str, Any]
    sides: np.ndarray
    per_picture: np.ndarray
    sizes: np.ndarray


def overlay(sample: Sample, colours: np.ndarray, classes: tuple[str, ...]) -> Image.Image:
    """The image with masks, boxes and names; what the loss ignores is crossed out."""
    truth, factor = sample.truth.gt_instances, drawing.enlarge(sample.image)
    labels = truth.labels.tolist()
    image = sample.image.copy()
    if "masks" in truth:
        for label, mask in zip(labels, truth.masks.to_ndarray().astype(bool), strict=True):
            inside = image[: mask.shape[0], : mask.shape[1]]
            mask = mask[: inside.shape[0], : inside.shape[1]]
            inside[mask] = (0.5 * inside[mask] + 0.5 * colours[label]).astype(np.uint8)
    size = (image.shape[1] * factor, image.shape[0] * factor)
    picture = Image.fromarray(image).resize(size, Image.Resampling.NEAREST)
    draw, size = ImageDraw.Draw(picture), name_size(picture.size)
    ignored = _boxes(sample.truth.get("ignored_instances"), factor)
    for left, top, right, bottom in ignored:
        draw.rectangle([left, top, right, bottom], outline=IGNORED, width=3)
        draw.line([left, top, right, bottom], fill=IGNORED, width=3)
        draw.line([left, bottom, right, top], fill=IGNORED, width=3)
    boxes = _boxes(truth, factor)
    for label, box in zip(labels, boxes, strict=True):
        draw.rectangle(box, outline=tuple(map(int, colours[label])), width=2)
    for label, box in zip(labels, boxes, strict=True):  # names over all boxes
        drawing.write_name(draw, box[:2], classes[label], colours[label], size)
    for box in ignored:
        drawing.write_name(draw, box[:2], "ignored", IGNORED, size)
    return picture


def _boxes(instances: Any, factor: int) -> list[list[float]]:
    """Boxes (left, top, right, bottom) in the pixels of the enlarged image."""
    if instances is None or "bboxes" not in instances:
        return []
    return (instances.bboxes * factor).tolist()


def shown_classes(sample: Sample) -> list[int]:
    """The classes that occur in a sample."""
    return sorted(set(sample.truth.gt_instances.labels.tolist()))


def collect(cfg: Any, split: str, used: BaseDataset, classes: tuple[str, ...]) -> Findings:
    """Reads the statistics of all images, also of those that training leaves out.

    Args:
        cfg: Resolved config.
        split: ``train`` or ``val``.
        used: The dataset as it is trained on or evaluated.
        classes: Class names, by label.
    """
    (config,) = datasets(cfg, split)
    everything = build_dataset(config, filter_cfg=None, pipeline=[])
    infos = [everything.get_data_info(index) for index in range(len(everything))]
    real = [
        [instance for instance in info["instances"] if not instance["ignore_flag"]]
        for info in infos
    ]
    boxes = np.array(
        [instance["bbox"] for instances in real for instance in instances], float
    ).reshape(-1, 4)
    labels = np.array([instance["bbox_label"] for instances in real for instance in instances], int)
    sides = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
    per_picture = np.array([len(instances) for instances in real], int)
    sizes = [(info["width"], info["height"]) for info in infos]
    crowds = sum(len(info["instances"]) for info in infos) - len(boxes)
    pictures_of = Counter(
        label for instances in real for label in {instance["bbox_label"] for instance in instances}
    )
    summary = {
        "task": "detection",
        "split": split,
        "pictures": len(infos),
        "pictures_used": len(used),
        "pictures_without_annotation": int((per_picture == 0).sum()),
        "instances": len(boxes),
        "crowds": crowds,
        "boxes_left_out": _named_boxes(config, classes) - len(boxes) - crowds,
        "instances_per_picture": five_numbers(per_picture),
        "box_sides": five_numbers(sides),
        "box_sizes": _count_sizes(sides),
        "picture_sizes": picture_sizes(sizes),
        "classes": {
            name: {
                "instances": int((labels == label).sum()),
                "pictures": pictures_of[label],
                **_count_sizes(sides[labels == label]),
            }
            for label, name in enumerate(classes)
        },
    }
    return Findings(summary, sides, per_picture, np.array(sizes, int).reshape(-1, 2))


def _count_sizes(sides: np.ndarray) -> dict[str, int]:
    """How many boxes are small, medium and large, by COCO's limits."""
    kinds = np.bincount(np.digitize(sides, (SMALL, LARGE)), minlength=3)
    return {name: int(count) for name, count in zip(SIZES, kinds, strict=True)}


def _named_boxes(config: Any, classes: tuple[str, ...]) -> int:
    """The annotations of these classes in the file, valid or not."""
    content = read_json(annotation_path(config))
    ids = {entry["id"] for entry in content["categories"] if entry["name"] in classes}
    return sum(entry["category_id"] in ids for entry in content["annotations"])


def table(summary: dict[str, Any]) -> str:
    """The statistics as lines for people: the whole first, then a row a class."""
    left_out = summary["pictures"] - summary["pictures_used"]
    sizes = summary["box_sizes"]
    lines = [
        f"{summary['pictures']:,} images, {summary['pictures_without_annotation']:,} without "
        f"annotation; {left_out:,} left out of the {summary['split']} split",
        f"{summary['instances']:,} instances, {summary['crowds']:,} crowds (ignored), "
        f"{summary['boxes_left_out']:,} boxes left out (empty, or outside the image)",
        "box sizes: "
        + ", ".join(f"{name} {share(sizes[name], summary['instances'])}" for name in SIZES)
        + f" (limits {SMALL} x {SMALL} and {LARGE} x {LARGE} pixels)",
    ]
    quantities = [
        ("", "least", "5 %", "median", "95 %", "most"),
        ("box side (root of area)", *summary["box_sides"].values()),
        ("instances an image", *summary["instances_per_picture"].values()),
        ("image width", *summary["picture_sizes"]["width"].values()),
        ("image height", *summary["picture_sizes"]["height"].values()),
    ]
    head = ("instances", "pictures", *SIZES)
    rows = format_classes(summary["classes"], head, "instances")
    return "\n".join([*lines, "", format_rows(quantities), "", rows])


def draw_charts(found: Findings, path: Path) -> None:
    """Instances a class by size, box sizes, instances an image and image sizes."""
    classes = found.summary["classes"]
    figure = charts.new_figure(9.5, max(8.0, charts.bar_height(classes)))
    panels = figure.subplot_mosaic("as;an;ap", width_ratios=[1.1, 1])
    rows = charts.largest_classes(classes, "instances")
    stacked = [[row[kind] for row in rows.values()] for kind in SIZES]
    charts.draw_bars(panels["a"], list(rows), stacked, charts.BLUES, SIZES)
    total = f"{found.summary['instances']:,} instances of {len(classes):,} classes"
    panels["a"].set(xlabel="instances", title=total)
    charts.draw_box_sides(panels["s"], found.sides)
    for limit in (SMALL, LARGE):
        panels["s"].axvline(limit, color="black", linewidth=0.8, linestyle="--")
    panels["s"].set(title="box sizes: small | medium | large", ylabel="boxes")
    charts.draw_whole_numbers(panels["n"], found.per_picture)
    panels["n"].set(title="crowding", xlabel="instances of an image", ylabel="images")
    charts.draw_image_sizes(panels["p"], found.sizes)
    figure.savefig(path, dpi=110)


BROWSER = DataBrowser(overlay, shown_classes, collect, table, draw_charts)
