"""Results drawn into a copy of their image.

Names are written by Pillow in a font of matplotlib; where one of them is not installed, drawings
have no names, and a sentence says so.
"""

import importlib.util
import logging
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from convnext_dense.browse.segments import middle, paint_segments
from convnext_dense.browse.style import name_size
from convnext_dense.messages import say

if TYPE_CHECKING:
    from convnext_dense.inference.results import (
        ClassificationResult,
        DetectionResult,
        PanopticResult,
        SegmentationResult,
    )

OPAQUE = 0.5  # of colours over the image
NAMES_FROM = 32  # pixels of the shorter side of the image
WRITERS = {"PIL": "pillow", "matplotlib": "matplotlib"}  # module -> package
NAMED_SHARE = 0.005  # of the image, from which an area has its name written


class Name(NamedTuple):
    """A name on a plate in its class's colour.

    Attributes:
        text: What is written.
        place: The lower left corner of the plate (x, y); the middle of it where it is ``centred``.
        colour: RGB.
        centred: See ``place``.
    """

    text: str
    place: tuple[float, float]
    colour: np.ndarray
    centred: bool = False


def draw_objects(result: "DetectionResult") -> np.ndarray:
    """Masks, boxes, class names and scores; the highest score on top."""
    image = result.image.copy()
    colours = result.legend.colours[result.labels]
    order = range(len(result) - 1, -1, -1)
    if result.rles is not None:
        for number in order:
            _blend(image, result.mask(number), colours[number])
    width = max(1, name_size(result.size) // 7)
    for number in order:
        _frame(image, result.boxes[number], colours[number], width)
    names = [
        Name(
            f"{result.names[number]} {result.scores[number]:.2f}",
            tuple(result.boxes[number][:2].tolist()),
            colours[number],
        )
        for number in order
    ]
    return _with_names(image, names)


def draw_labels(result: "SegmentationResult") -> np.ndarray:
    """The classes' colours, and the name of each class in the middle of its largest area."""
    palette = result.legend.colours
    image = cv2.addWeighted(result.image, 1 - OPAQUE, palette[result.label_map], OPAQUE, 0)
    names = [
        Name(result.classes[area.label], middle(area.mask), palette[area.label], centred=True)
        for area in result.regions()
        if area.mask.mean() >= NAMED_SHARE
    ]
    return _with_names(image, names)


def draw_segments(result: "PanopticResult") -> np.ndarray:
    """The segments in shades of their classes' colours, each with its name in its middle."""
    palette, ids = result.legend.colours, dict(enumerate(result.labels.tolist(), start=1))
    image = paint_segments(result.image, result.segment_map, ids, palette)
    names = [
        Name(result.classes[segment.label], middle(segment.mask), palette[segment.label], True)
        for segment in result.regions()
        if segment.mask.mean() >= NAMED_SHARE
    ]
    return _with_names(image, names)


def draw_class(result: "ClassificationResult") -> np.ndarray:
    """The most probable class and its probability in the upper left corner."""
    text = f"{result.name} {result.probabilities[result.label]:.2f}"
    name = Name(text, (0, 0), result.legend.colours[result.label])
    return _with_names(result.image.copy(), [name])


def _with_names(image: np.ndarray, names: list[Name]) -> np.ndarray:
    """An image with names, the last one on top; as it is where it is small."""
    if min(image.shape[:2]) < NAMES_FROM or not names or not _can_write():
        return image
    from PIL import Image, ImageDraw

    from convnext_dense.browse.drawing import write_name
    from convnext_dense.browse.fonts import font

    picture, size = Image.fromarray(image), name_size(image.shape[:2])
    draw = ImageDraw.Draw(picture)
    for text, (left, bottom), colour, centred in names:
        if centred:
            left -= draw.textlength(text, font=font(size, text)) / 2
            bottom += size // 2
        write_name(draw, (left, bottom), text, colour, size)
    return np.asarray(picture).copy()


@cache
def _can_write() -> bool:
    """Whether names can be written here; the first time it says why they cannot."""
    missing = [name for name in WRITERS if not _is_installed(name)]
    if missing:
        say(
            "Drawings have no names, which need packages: pip install "
            f"{' '.join(WRITERS[name] for name in missing)}.",
            logging.WARNING,
        )
    return not missing


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False


def _frame(image: np.ndarray, box: np.ndarray, colour: np.ndarray, width: int) -> None:
    """Draws the edges of a box (left, top, right, bottom), inside of it."""
    left, top, right, bottom = (int(edge) for edge in box)
    right, bottom = max(left, right) + 1, max(top, bottom) + 1
    for rows, columns in (
        ((top, top + width), (left, right)),
        ((bottom - width, bottom), (left, right)),
        ((top, bottom), (left, left + width)),
        ((top, bottom), (right - width, right)),
    ):
        rows, columns = np.clip(rows, 0, image.shape[0]), np.clip(columns, 0, image.shape[1])
        image[slice(*rows), slice(*columns)] = colour


def _blend(image: np.ndarray, mask: np.ndarray, colour: np.ndarray) -> None:
    image[mask] = ((1 - OPAQUE) * image[mask] + OPAQUE * colour).astype(np.uint8)
