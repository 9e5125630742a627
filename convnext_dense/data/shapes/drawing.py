"""How one image of the embedded data is drawn: overlapping shapes on a patterned ground.

A shape's class is in its outline alone: colour, pattern, size and rotation come from the same
distributions for every class. Images are (height, width, 3) in BGR, as OpenCV writes them.
"""

import colorsys
import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

SUPERSAMPLING = 4  # outlines are filled at this many times the image's resolution
TRIES = 40  # random positions for one shape before the image does without it
CONTRAST = 140.0  # wanted distance of a shape's colour to what lies under it, BGR in [0, 255]


def _polygon(corners: int, inner: float = 1.0) -> np.ndarray:
    """Corners on the unit circle, every second one drawn in to the radius `inner`, (corners, 2)."""
    angles = np.arange(corners) * (2 * math.pi / corners)
    radii = np.where(np.arange(corners) % 2, inner, 1.0)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _plus(half_width: float) -> np.ndarray:
    """Two crossing bars of that half width that reach from -1 to 1, (12, 2)."""
    corner = np.array([(half_width, 1), (half_width, half_width), (1, half_width)])
    quarter_turn = np.array([(0, -1), (1, 0)])
    return np.concatenate([corner @ np.linalg.matrix_power(quarter_turn, k) for k in range(4)])


# Contours of radius 1 about the origin; every contour after the first is a hole.
OUTLINES = {
    "circle": [_polygon(64)],
    "square": [_polygon(4)],
    "triangle": [_polygon(3)],
    "star": [_polygon(10, inner=0.38)],
    "ring": [_polygon(64), 0.55 * _polygon(64)],
    "cross": [_plus(0.36)],
}
CLASSES = tuple(OUTLINES)


class DrawnImage(NamedTuple):
    """An image and what is seen in it.

    Attributes:
        image: (height, width, 3), uint8, BGR.
        owner: (height, width), uint8: 0 where the ground is seen, k where the k-th shape is.
        classes: class index of every shape, the farthest first; classes[k - 1] belongs to k.
    """

    image: np.ndarray
    owner: np.ndarray
    classes: list[int]


def draw_image(
    rng: np.random.Generator,
    size: tuple[int, int],
    classes: Sequence[int],
    radii: tuple[float, float],
    visible: float,
) -> DrawnImage:
    """Draws shapes of these classes in this order, each over the ones before.

    A shape is placed only where it is seen, and leaves every earlier shape seen, to at least the
    part `visible` of the whole shape's area; what finds no such place is not drawn. So nothing that
    is in the image is too small to be worth an annotation.

    Args:
        size: (height, width) in pixels.
        radii: smallest and largest radius of a shape in pixels.
        visible: in [0, 1].
    """
    light = rng.uniform(0, 2 * math.pi)
    image = _ground(rng, size)
    owner = np.zeros(size, np.uint8)
    drawn, wanted = [], [0.0]  # wanted: area that has to stay visible; nothing of the ground
    for index in classes:
        outline = OUTLINES[CLASSES[index]]
        for _ in range(TRIES):
            radius = rng.uniform(*radii)
            centre = [rng.uniform(0.7 * radius, side - 0.7 * radius) for side in size]
            coverage = _coverage(outline, size, centre, radius, rng.uniform(0, 2 * math.pi))
            after = np.where(coverage >= 0.5, np.uint8(len(wanted)), owner)
            needed = [*wanted, visible * _area(outline) * radius**2]
            if (np.bincount(after.ravel(), minlength=len(needed)) >= needed).all():
                _paint(rng, image, coverage, centre, radius, light)
                owner, wanted = after, needed
                drawn.append(index)
                break
    image += rng.standard_normal(image.shape, np.float32) * rng.uniform(1, 5)
    return DrawnImage(np.clip(image, 0, 255).astype(np.uint8), owner, drawn)


def _area(outline: list[np.ndarray]) -> float:
    outer, *holes = (cv2.contourArea(contour.astype(np.float32)) for contour in outline)
    return outer - sum(holes)


def _coverage(outline, size, centre, radius, angle) -> np.ndarray:
    """The part of every pixel that the shape covers, (height, width), float32 in [0, 1]."""
    height, width = size
    turn = np.array([(math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))])
    corners = [SUPERSAMPLING * (contour @ turn * radius + centre[::-1]) for contour in outline]
    fine = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING), np.uint8)
    # OpenCV counts from the centre of the first pixel, not from its corner: hence the half.
    cv2.fillPoly(fine, [np.rint(contour - 0.5).astype(np.int32) for contour in corners], 255)
    return cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA) / np.float32(255)


def _pattern(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A gradient, stripes, dots or clouds, (height, width), float32 in [0, 1]."""
    height, width = size
    kind = rng.integers(4)
    if kind == 0:
        coarse = rng.random([2 + side // rng.integers(8, 40) for side in size], np.float32)
        return np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)
    angle, phase = rng.uniform(0, 2 * math.pi, 2)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    if kind == 1:
        return (along - along.min()) / np.ptp(along)
    pitch = 2 * math.pi / rng.uniform(6, 24)
    wave = np.sin(along * pitch + phase)
    if kind == 2:
        wave = wave * np.sin(across * pitch + phase)
    return np.clip(0.5 + rng.uniform(0.4, 1.2) * wave, 0, 1)


def _colour(hue: float, saturation: float, value: float) -> np.ndarray:
    """HSV, each in [0, 1] (a hue outside it wraps round), to BGR in [0, 255]."""
    return 255 * np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value)[::-1], np.float32)


def _mix(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    return first + share[..., None] * (second - first)


def _ground(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Two muted colours in a pattern over another two, (height, width, 3), float32."""
    hue, value = rng.random(), rng.uniform(0.4, 1)
    tones = [
        _colour(hue + rng.normal(0, 0.1), rng.uniform(0.05, 0.3), value * rng.uniform(0.85, 1))
        for _ in range(3)
    ]
    lower = _mix(tones[0], tones[1], _pattern(rng, size))
    return _mix(lower, tones[2], 0.6 * _pattern(rng, size))


def _paint(rng, image, coverage, centre, radius, light) -> None:
    """Lays a shape and its shadow over `image`, in place; `light` is where the light goes."""
    height, width = coverage.shape
    under = np.average(image.reshape(-1, 3), axis=0, weights=coverage.ravel())
    looks = [(rng.random(), rng.uniform(0.45, 1), rng.uniform(0.4, 1)) for _ in range(8)]
    hue, saturation, value = max(
        looks, key=lambda look: min(np.linalg.norm(_colour(*look) - under), CONTRAST)
    )
    second = _colour(hue + rng.normal(0, 0.06), saturation, value * rng.uniform(0.75, 0.92))
    surface = _mix(_colour(hue, saturation, value), second, _pattern(rng, (height, width)))
    direction = np.float32([math.cos(light), math.sin(light)])
    y, x = np.ogrid[:height, :width]
    depth = ((x - centre[1]) * direction[0] + (y - centre[0]) * direction[1]) / radius
    surface *= (1 - 0.2 * depth)[..., None].astype(np.float32)

    shift = np.float32([[1, 0, 3 * direction[0]], [0, 1, 3 * direction[1]]])
    shadow = cv2.warpAffine(cv2.GaussianBlur(coverage, (0, 0), 2.5), shift, (width, height))
    image *= 1 - 0.45 * shadow[..., None]
    image += coverage[..., None] * (surface - image)
