"""Results drawn into a copy of their image."""

from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image, ImageDraw

from convnext_dense.browse.drawing import name_size, write_name
from convnext_dense.browse.fonts import font

if TYPE_CHECKING:
    from convnext_dense.inference.results import (
        ClassificationResult,
        DetectionResult,
        SegmentationResult,
    )

OPAQUE = 0.5  # of colours over the image
NAMES_FROM = 32  # pixels of the shorter side of the image
NAMED_SHARE = 0.005  # of the image, from which an area has its name written


def draw_objects(result: "DetectionResult") -> np.ndarray:
    """Masks, boxes, class names and scores; the highest score on top."""
    image = result.image.copy()
    colours = result.legend.colours[result.labels]
    order = range(len(result) - 1, -1, -1)
    if result.rles is not None:
        for number in order:
            _blend(image, result.mask(number), colours[number])
    picture = Image.fromarray(image)
    draw, size = ImageDraw.Draw(picture), name_size(picture)
    width = max(1, size // 7)
    for number in order:
        colour = tuple(map(int, colours[number]))
        left, top, right, bottom = map(float, result.boxes[number])
        draw.rectangle([left, top, max(left, right), max(top, bottom)], outline=colour, width=width)
    if min(result.size) >= NAMES_FROM:
        for number in order:
            name = f"{result.names[number]} {result.scores[number]:.2f}"
            write_name(draw, result.boxes[number][:2].tolist(), name, colours[number], size)
    return np.asarray(picture).copy()


def draw_labels(result: "SegmentationResult") -> np.ndarray:
    """The classes' colours, and the name of each class in the middle of its largest area."""
    colours = result.legend.colours[result.label_map]
    image = cv2.addWeighted(result.image, 1 - OPAQUE, colours, OPAQUE, 0)
    if min(result.size) < NAMES_FROM:
        return image
    picture = Image.fromarray(image)
    draw, size = ImageDraw.Draw(picture), name_size(picture)
    for region in result.regions():
        if region.mask.mean() < NAMED_SHARE:
            continue
        left, top = _middle(region.mask)
        name, colour = result.classes[region.label], result.legend.colours[region.label]
        half = draw.textlength(name, font=font(size, name)) / 2
        write_name(draw, (left - half, top + size // 2), name, colour, size)
    return np.asarray(picture).copy()


def draw_class(result: "ClassificationResult") -> np.ndarray:
    """The most probable class and its probability in the upper left corner."""
    picture = Image.fromarray(result.image)
    if min(result.size) >= NAMES_FROM:
        name = f"{result.name} {result.probabilities[result.label]:.2f}"
        colour = result.legend.colours[result.label]
        write_name(ImageDraw.Draw(picture), (0, 0), name, colour, name_size(picture))
    return np.asarray(picture).copy()


def _blend(image: np.ndarray, mask: np.ndarray, colour: np.ndarray) -> None:
    image[mask] = ((1 - OPAQUE) * image[mask] + OPAQUE * colour).astype(np.uint8)


def _middle(mask: np.ndarray) -> tuple[float, float]:
    """The point (x, y) of a mask that is furthest from its edge."""
    padded = np.pad(mask.astype(np.uint8), 1)
    _, _, _, (x, y) = cv2.minMaxLoc(cv2.distanceTransform(padded, cv2.DIST_L2, 3))
    return x - 1, y - 1
