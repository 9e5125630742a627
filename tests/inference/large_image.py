"""Memory of tiles in a large image: python -m tests.inference.large_image OBJECTS [SIDE].

The image holds ellipses of 20 to 400 pixels a side, and a "model" that reads them off each tile of
800 pixels. Prints the objects, those found, seconds, and the process's peak memory above that with
the image alone.
"""

import resource
import sys
import time

import cv2
import numpy as np

from convnext_dense.inference.tiles import detect_in_tiles
from tests.inference.oracle import objects


def draw(count: int, side: int) -> tuple[np.ndarray, int]:
    """Numbers of objects (side, side), uint16, and how many found room."""
    rng = np.random.default_rng(0)
    scene, placed = np.zeros((side, side), np.uint16), 0
    for number in range(1, count + 1):
        height, width = (int(length) for length in rng.integers(20, 400, 2))
        ellipse = np.zeros((height, width), np.uint8)
        axes = (width // 2 - 1, height // 2 - 1)
        cv2.ellipse(ellipse, (width // 2, height // 2), axes, 0, 0, 360, 1, -1)
        for _ in range(20):
            top, left = rng.integers(0, side - height), rng.integers(0, side - width)
            spot = scene[top : top + height, left : left + width]
            if not spot.any():
                spot[ellipse > 0] = number
                placed += 1
                break
    return scene, placed


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(count: int, side: int = 12_000) -> None:
    scene, placed = draw(count, side)
    before, start = peak_mb(), time.perf_counter()
    found = detect_in_tiles(lambda images: list(map(objects, images)), scene, 800, 0.2)
    seconds, more = time.perf_counter() - start, peak_mb() - before
    print(
        f"{placed} objects, {len(found)} found, {seconds:.0f} s, {more:.0f} MB more than the image"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
