"""What is done with some images at a time: predicted as a whole, or in tiles."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from convnext_dense.inference.instances import Instances
from convnext_dense.inference.network import Network, Scores
from convnext_dense.inference.sources import SourceImage
from convnext_dense.inference.tiled_labels import segment_in_tiles
from convnext_dense.inference.tiles import detect_in_tiles


class Whole:
    """Predicts images as a whole; those of one size together."""

    def __init__(self, network: Network, tta: bool, probabilities: bool) -> None:
        self.network, self.tta, self.probabilities = network, tta, probabilities

    def prepare(self, image: SourceImage) -> Any:
        """The image as its network takes it."""
        return self.network.prepare(image.array, image.name, self.tta)

    def predict(self, prepared: Sequence[Any]) -> list[Any]:
        """Results in the order of the images."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for number, one in enumerate(prepared):
            groups.setdefault(self.network.size(one), []).append(number)
        found: dict[int, Any] = {}
        for numbers in groups.values():
            batch = [prepared[number] for number in numbers]
            outcomes = self.network.predict(batch, self.tta, self.probabilities)
            found.update(zip(numbers, outcomes, strict=True))
        return [found[number] for number in range(len(prepared))]


class Tiles:
    """Predicts images in tiles, one image at a time."""

    def __init__(
        self, network: Network, tta: bool, probabilities: bool, options: dict[str, Any]
    ) -> None:
        self.whole = Whole(network, tta, probabilities or network.task == "segmentation")
        self.probabilities, self.options = probabilities, options

    def prepare(self, image: SourceImage) -> SourceImage:
        """The image as it is: its tiles are prepared one by one."""
        return image

    def predict(self, prepared: Sequence[SourceImage]) -> list[Any]:
        """Results in the order of the images."""
        detects = self.whole.network.task == "detection"
        return [self._objects(image) if detects else self._labels(image) for image in prepared]

    def _objects(self, image: SourceImage) -> Instances:
        return detect_in_tiles(partial(self._inside, image.name), image.array, **self.options)

    def _labels(self, image: SourceImage) -> Scores:
        threshold = self.whole.network.threshold
        first = 0 if threshold is None else 1  # of one channel: the second class alone

        def predict(tiles: list[np.ndarray]) -> list[np.ndarray]:
            return [scores.probabilities[first:] for scores in self._inside(image.name, tiles)]

        options = self.options if threshold is None else {**self.options, "threshold": threshold}
        labels, mean = segment_in_tiles(
            predict, image.array, keep_scores=self.probabilities, **options
        )
        if mean is not None and first:
            mean = np.concatenate([1 - mean, mean])
        return Scores(labels, mean)

    def _inside(self, name: str, tiles: list[np.ndarray]) -> list[Any]:
        made = [SourceImage(tile, f"a tile of {name}") for tile in tiles]
        return self.whole.predict([self.whole.prepare(tile) for tile in made])
