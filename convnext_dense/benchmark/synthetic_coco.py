"""Generated ground truth and detections like COCO's, for the speed of evaluations.

The counts follow COCO val2017: 80 categories of which few are frequent, 7.4 objects per image as
polygons, one in a hundred a crowd. Detections are jittered objects, some with a wrong category, and
others at wrong positions, mostly of categories in the image. Their masks are RLE, as in a
detector's metric.
"""

from dataclasses import dataclass

import numpy as np
from pycocotools import mask as mask_api

CATEGORY_IDS = tuple(number for number in range(1, 91) if number % 9)  # 80, with gaps
SIZES = ((480, 640), (640, 480))  # (height, width)
OBJECTS, DETECTIONS = 7.4, 36  # means per image; detections as of a trained two-stage detector
MAX_DETECTIONS = 100  # per image
CORNERS = 24


@dataclass(frozen=True)
class SyntheticCoco:
    """The input of an evaluation.

    Attributes:
        ground_truth: Content of a COCO annotation file.
        results: One dict per image, as in :class:`CocoInstanceMetric`: ``img_id``,
            ``bboxes`` (n, 4) in xyxy pixels, ``scores`` (n), ``labels`` (n), ``masks`` as RLE.
        classes: Names of the categories, in the labels' order.
    """

    ground_truth: dict
    results: list[dict]
    classes: tuple[str, ...]


def generate(image_count: int, seed: int = 0) -> SyntheticCoco:
    """Draws ground truth and results of a number of images; the same for the same seed."""
    rng = np.random.default_rng(seed)
    names = tuple(f"class {number}" for number in CATEGORY_IDS)
    images, annotations, results = [], [], []
    for number in range(1, image_count + 1):
        size = SIZES[int(rng.integers(len(SIZES)))]
        images.append(dict(id=number, height=size[0], width=size[1], file_name=f"{number}.jpg"))
        count = rng.poisson(rng.gamma(2, OBJECTS / 2))
        labels, shapes = _labels(rng, count), _polygons(rng, count, size)
        for label, shape in zip(labels, shapes, strict=True):
            crowd = rng.random() < 0.01
            annotations.append(_annotation(len(annotations) + 1, number, label, shape, size, crowd))
        results.append(_detected(rng, number, labels, shapes, size))
    categories = [dict(id=i, name=name) for i, name in zip(CATEGORY_IDS, names, strict=True)]
    ground_truth = dict(images=images, annotations=annotations, categories=categories)
    return SyntheticCoco(ground_truth, results, names)


def _labels(rng: np.random.Generator, count: int) -> np.ndarray:
    """Random labels, (count); the first classes are the most frequent."""
    shares = 1 / np.arange(1, len(CATEGORY_IDS) + 1)
    return rng.choice(len(CATEGORY_IDS), count, p=shares / shares.sum())


def _polygons(rng: np.random.Generator, count: int, size: tuple[int, int]) -> np.ndarray:
    """Wobbly ellipses in pixels, (count, CORNERS, 2) as x, y."""
    height, width = size
    centre = rng.uniform(0, 1, (count, 1, 2)) * (width, height)
    radius = np.clip(rng.lognormal(3.4, 0.9, (count, 1, 1)), 3, 250)
    aspect = rng.uniform(0.6, 1.4, (count, 1, 2))
    wobble = rng.uniform(0.75, 1.15, (count, CORNERS, 1))
    angle = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return np.clip(centre + radius * aspect * wobble * circle, 0, (width - 1, height - 1))


def _annotation(
    number: int, image: int, label: int, shape: np.ndarray, size: tuple[int, int], crowd: bool
) -> dict:
    (left, top), (right, bottom) = shape.min(axis=0).tolist(), shape.max(axis=0).tolist()
    polygon = [shape.round(2).flatten().tolist()]
    (rle,) = mask_api.frPyObjects(polygon, *size)
    return dict(
        id=number,
        image_id=image,
        category_id=CATEGORY_IDS[label],
        bbox=[left, top, right - left, bottom - top],
        area=float(mask_api.area(rle)),
        iscrowd=int(crowd),
        segmentation=_text(rle) if crowd else polygon,
    )


def _detected(
    rng: np.random.Generator,
    image: int,
    labels: np.ndarray,
    shapes: np.ndarray,
    size: tuple[int, int],
) -> dict:
    """The result of one image: each object several times or never, and false positives."""
    sources = np.repeat(np.arange(len(labels)), rng.integers(0, 4, len(labels)))
    spread = shapes[sources].max(axis=1) - shapes[sources].min(axis=1)
    detected = shapes[sources] + rng.normal(0, 0.1, (len(sources), 2))[:, None] * spread[:, None]
    wrong = rng.random(len(sources)) < 0.15
    pool = np.concatenate([labels, _labels(rng, 3)])
    wrong_labels = rng.choice(pool, len(sources))
    extra = rng.poisson(DETECTIONS - 1.5 * OBJECTS)
    shapes = np.concatenate([detected, _polygons(rng, extra, size)])[:MAX_DETECTIONS]
    labels = np.where(wrong, wrong_labels, labels[sources])
    labels = np.concatenate([labels, rng.choice(pool, extra)])[:MAX_DETECTIONS]
    scores = np.concatenate([rng.beta(3, 2, len(sources)), rng.beta(1, 6, extra)])[:MAX_DETECTIONS]
    shapes = np.clip(shapes, 0, (size[1] - 1, size[0] - 1))
    order = np.argsort(-scores)
    boxes = np.concatenate([shapes.min(axis=1), shapes.max(axis=1)], axis=1)
    masks = mask_api.frPyObjects([shape.flatten().tolist() for shape in shapes[order]], *size)
    return dict(
        img_id=image,
        bboxes=boxes[order].astype(np.float32),
        scores=scores[order].astype(np.float32),
        labels=labels[order],
        masks=[_text(rle) for rle in masks],
    )


def _text(rle: dict) -> dict:
    return {**rle, "counts": rle["counts"].decode()}
