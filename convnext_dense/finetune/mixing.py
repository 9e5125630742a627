"""Steps of a pipeline that take other images of the dataset into one: what they have in common."""

from abc import abstractmethod
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from torch.utils.data import Dataset

from convnext_dense.data.images import explaining_opencv

TRIES = 20  # images that steps before may give up, until the step does without another one


@dataclass(frozen=True)
class Tile:
    """A part of an image and its place on the canvas of a mosaic, in whole pixels.

    Attributes:
        window: Left, top, right and bottom of the part, in the image.
        place: The same of its place, on the canvas.
    """

    window: tuple[int, int, int, int]
    place: tuple[int, int, int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the place."""
        left, top, right, bottom = self.place
        return bottom - top, right - left

    def cut(self, array: np.ndarray, nearest: bool = False) -> np.ndarray:
        """The part of an array (height, width, ...) in the size of its place."""
        left, top, right, bottom = self.window
        how = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
        part = np.ascontiguousarray(array[top:bottom, left:right])
        resized = cv2.resize(part, self.size[::-1], interpolation=how)
        return resized.reshape(*self.size, *array.shape[2:])  # cv2 drops a single channel

    def put(self, canvas: np.ndarray, part: np.ndarray) -> None:
        """Puts a part onto a canvas (height, width, ...)."""
        left, top, right, bottom = self.place
        canvas[top:bottom, left:right] = part


def draw_quarters(
    size: tuple[int, int], center_range: tuple[float, float]
) -> list[tuple[int, int, int, int]]:
    """The four places of a mosaic of (height, width), around a random centre."""
    height, width = size
    y, x = (round(side * np.random.uniform(*center_range)) for side in size)
    return [(0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)]


def draw_tile(image_size: tuple[int, int], place: tuple[int, int, int, int]) -> Tile:
    """A random part of an image for a place that it fills to the last pixel.

    The image is shrunk by a random factor, at most so far that it just covers the place; one that
    is smaller than the place is enlarged.

    Args:
        image_size: Height and width of the image.
        place: See :class:`Tile`.
    """
    height, width = image_size
    wanted = place[3] - place[1], place[2] - place[0]
    cover = max(wanted[0] / height, wanted[1] / width)
    factor = np.random.uniform(cover, 1) if cover < 1 else cover
    rows, columns = (
        min(side, max(1, round(part / factor)))
        for side, part in zip(image_size, wanted, strict=True)
    )
    top, left = np.random.randint(height - rows + 1), np.random.randint(width - columns + 1)
    return Tile((left, top, left + columns, top + rows), place)


class MixingStep(BaseTransform):
    """A step that takes other images, after the steps that stand before it in the pipeline.

    mmdet has a dataset around the dataset for this (MultiImageMixDataset), whose steps draw the
    index of another image from 0 to n, both included, and fail at n. Here the dataset stays as it
    is: whoever builds it tells the step (``data.bands.load_image``). Which other images
    are taken follows from the random numbers of the image, so from its seed.
    """

    dataset: Dataset | None = None

    def use_dataset(self, dataset: Dataset) -> None:
        """Says where other images come from."""
        self.dataset = dataset

    def another(self) -> dict[str, Any] | None:
        """Another image with its annotations, by chance also the same; None where all give up."""
        if self.dataset is None:
            raise RuntimeError(f"{type(self).__name__} was not told its dataset")
        for _ in range(TRIES):
            results = self.dataset.get_data_info(np.random.randint(len(self.dataset)))
            with explaining_opencv(str(results.get("img_path", "An image"))):
                for step in takewhile(lambda s: s is not self, self.dataset.pipeline.transforms):
                    results = step(results)
                    if results is None:
                        break
                else:
                    return results
        return None


class MosaicStep(MixingStep):
    """Four images in one, each in a quarter that it fills, around a random centre.

    mmdet's and mmsegmentation's mosaics pad and make an image of twice the sides; mmdet's leaves
    out masks. After YOLOv4 (https://arxiv.org/abs/2004.10934).

    Args:
        size: Height and width of the result.
        prob: Share of the images that become a mosaic.
        center_range: Range of the centre, as a share of height and width.
    """

    def __init__(
        self,
        size: tuple[int, int],
        prob: float = 0.5,
        center_range: tuple[float, float] = (0.3, 0.7),
    ) -> None:
        self.size = tuple(size)
        self.prob = prob
        self.center_range = tuple(center_range)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Makes a mosaic of the sample and three others, or leaves it."""
        if np.random.rand() >= self.prob:
            return results
        others = [self.another() for _ in range(3)]
        if None in others:
            return results
        samples = [(results, *others)[number] for number in np.random.permutation(4)]
        places = draw_quarters(self.size, self.center_range)
        tiles = [
            draw_tile(sample["img"].shape[:2], place)
            for sample, place in zip(samples, places, strict=True)
        ]
        return self.combine(results, samples, tiles)

    @abstractmethod
    def combine(
        self, results: dict[str, Any], samples: list[dict[str, Any]], tiles: list[Tile]
    ) -> dict[str, Any]:
        """Puts the tiles of four samples together into the first argument, one of them."""
