"""Exported detectors, segmentors and classifiers as networks of the inference."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import cv2
import numpy as np

from convnext_dense.data.bands.reading import Reading
from convnext_dense.errors import UserError
from convnext_dense.exported.description import Description
from convnext_dense.exported.masks import paste
from convnext_dense.exported.preparation import Prepared, check_size, prepare
from convnext_dense.exported.sessions import Session
from convnext_dense.inference.instances import Instances
from convnext_dense.inference.network import Network, Scores
from convnext_dense.inference.rle_codec import encode


class ExportedNetwork(Network):
    """An exported model in its runtime.

    Args:
        description: Of the model.
        session: Of its graph.
    """

    def __init__(self, description: Description, session: Session) -> None:
        self.description, self.session = description, session
        self.task, self.classes = description.task, description.classes
        self.reading = Reading(description.channels, description.value_range)

    def check_views(self) -> None:
        """Refuses them: the views are the trained model's.

        Raises:
            UserError: Always.
        """
        raise UserError(
            "An exported model is not tested in several views: leave tta out, or take the "
            "checkpoint that it was exported from."
        )

    def prepare(self, image: np.ndarray, name: str, views: bool) -> Prepared:
        """See :func:`convnext_dense.exported.preparation.prepare`."""
        return check_size(prepare(image, name, self.description), name)

    def size(self, prepared: Prepared) -> tuple[int, ...]:
        """The size of the network's input."""
        return prepared.pixels.shape

    def run(self, prepared: Sequence[Prepared]) -> dict[str, np.ndarray]:
        """The graph's outputs for images of one size."""
        groups = [[one] for one in prepared] if self.description.fixed else [list(prepared)]
        found = [self.session.run(self._inputs(group)) for group in groups]
        if len(found) == 1:
            return found[0]
        return {name: np.concatenate([one[name] for one in found]) for name in found[0]}

    def _inputs(self, prepared: Sequence[Prepared]) -> dict[str, np.ndarray]:
        return {"pixels": np.stack([one.pixels for one in prepared])}


class Detector(ExportedNetwork):
    """A detector, with masks or without."""

    def _inputs(self, prepared: Sequence[Prepared]) -> dict[str, np.ndarray]:
        sizes = np.array([one.size for one in prepared], np.float32)
        return {**super()._inputs(prepared), "sizes": sizes}

    def run(self, prepared: Sequence[Prepared]) -> dict[str, np.ndarray]:
        """The outputs; of graphs for one image each, filled up to equally many rows."""
        if not self.description.fixed or len(prepared) == 1:
            return super().run(prepared)
        found = [super(Detector, self).run([one]) for one in prepared]
        most = max(one["scores"].shape[1] for one in found)
        filled = [{name: _fill(values, most) for name, values in one.items()} for one in found]
        return {name: np.concatenate([one[name] for one in filled]) for name in filled[0]}

    def predict(
        self, prepared: Sequence[Prepared], views: bool = False, probabilities: bool = False
    ) -> list[Instances]:
        """Detections, the highest score first."""
        found = self.run(prepared)
        return [self._instances(one, found, row) for row, one in enumerate(prepared)]

    def _instances(self, image: Prepared, found: dict[str, np.ndarray], row: int) -> Instances:
        (kept,) = np.nonzero(found["scores"][row] >= 0)
        height, width = image.scale
        factors = np.array([width, height, width, height], np.float32)
        boxes = found["boxes"][row, kept] / factors
        masks = None
        if "masks" in found:
            least = self.description.mask_threshold
            masks = [
                encode(paste(mask, box, image.original, least))
                for mask, box in zip(found["masks"][row, kept], boxes, strict=True)
            ]
        labels = found["labels"][row, kept].astype(np.int64)
        if len(labels) and labels.max() >= len(self.classes):
            raise UserError(
                f"The graph finds class {labels.max()}, and model.json names {len(self.classes)} "
                "classes: export the model again."
            )
        return Instances(boxes.astype(np.float32), found["scores"][row, kept], labels, masks)


def _fill(values: np.ndarray, rows: int) -> np.ndarray:
    """An output of one image (1, n, ...) with more rows; their score is below 0."""
    missing = [(0, 0), (0, rows - values.shape[1]), *[(0, 0)] * (values.ndim - 2)]
    return np.pad(values, missing, constant_values=-1)


class Segmentor(ExportedNetwork):
    """A segmentor."""

    @property
    def threshold(self) -> float | None:
        """From which probability the second of two classes is chosen; None for more channels."""
        return self.description.threshold

    def predict(
        self, prepared: Sequence[Prepared], views: bool = False, probabilities: bool = False
    ) -> list[Scores]:
        """A label for every pixel, with the probability of every class on request."""
        if self.description.window is None:
            logits = self.run(prepared)["logits"]
        else:
            logits = np.stack([self._through_windows(one) for one in prepared])
        return [
            self._scores(one, of_one, probabilities)
            for one, of_one in zip(prepared, logits, strict=True)
        ]

    def _through_windows(self, image: Prepared) -> np.ndarray:
        """Logits (classes, height, width), averaged where windows overlap."""
        crop, stride = self.description.window
        _, height, width = image.pixels.shape
        crop = min(crop[0], height), min(crop[1], width)
        total, times = None, np.zeros((height, width), np.float32)
        for top in _starts(height, crop[0], stride[0]):
            for left in _starts(width, crop[1], stride[1]):
                place = ..., slice(top, top + crop[0]), slice(left, left + crop[1])
                pixels = np.ascontiguousarray(image.pixels[place])
                window = Prepared(pixels, crop, crop, (1.0, 1.0))
                (logits,) = self.run([window])["logits"]
                if total is None:
                    total = np.zeros((len(logits), height, width), np.float32)
                total[place] += logits
                times[place] += 1
        return total / times

    def _scores(self, image: Prepared, logits: np.ndarray, probabilities: bool) -> Scores:
        height, width = image.size
        logits, kind = (
            logits[:, :height, :width],
            np.uint8 if len(self.classes) <= 256 else np.uint16,
        )
        if len(logits) == 1:  # the probability of the second of two classes
            (second,) = _resized(logits, image.original)
            second = 1 / (1 + np.exp(-second))
            labels = (second > self.threshold).astype(kind)
            return Scores(labels, np.stack([1 - second, second]) if probabilities else None)
        if not probabilities:
            return Scores(_best(_resized(logits, image.original)).astype(kind), None)
        scores = np.stack(list(_resized(logits, image.original)))
        labels = scores.argmax(0).astype(kind)
        scores = np.exp(scores - scores.max(0))
        return Scores(labels, scores / scores.sum(0))


def _resized(maps: np.ndarray, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Each of some maps (height, width) in another size."""
    for one in maps:
        if one.shape == size:
            yield one
        else:
            yield cv2.resize(np.ascontiguousarray(one), size[::-1], interpolation=cv2.INTER_LINEAR)


def _best(maps: Iterator[np.ndarray]) -> np.ndarray:
    """The number of the highest map at each pixel; of equal ones the first."""
    highest = next(maps).copy()
    labels = np.zeros(highest.shape, np.int64)
    for number, one in enumerate(maps, start=1):
        higher = one > highest
        labels[higher] = number
        np.maximum(highest, one, out=highest)
    return labels


def _starts(length: int, crop: int, stride: int) -> list[int]:
    """Where windows begin on a side; the last one ends at the border."""
    starts = [*range(0, length - crop, stride), length - crop]
    assert all(following - start <= crop for start, following in pairwise(starts))
    return starts


class Classifier(ExportedNetwork):
    """A classifier."""

    def predict(
        self, prepared: Sequence[Prepared], views: bool = False, probabilities: bool = False
    ) -> list[np.ndarray]:
        """Probabilities (classes,) of each image, float32."""
        logits = self.run(prepared)["logits"].astype(np.float32)
        scores = np.exp(logits - logits.max(1, keepdims=True))
        return list(scores / scores.sum(1, keepdims=True))
