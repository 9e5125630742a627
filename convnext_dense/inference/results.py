"""Results as plain data: what was found in an image, in its own pixels."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from convnext_dense.data.images import write_image
from convnext_dense.errors import UserError
from convnext_dense.inference.base_result import Region, Result
from convnext_dense.inference.instances import Instances
from convnext_dense.inference.rle_codec import decode


@dataclass(frozen=True, eq=False, repr=False)
class DetectionResult(Result):
    """The objects in one image, the highest score first.

    Attributes:
        instances: Boxes, scores, labels and masks as arrays.
    """

    instances: Instances

    def __len__(self) -> int:
        return len(self.instances)

    @property
    def boxes(self) -> np.ndarray:
        """float32 (n, 4): left, top, right, bottom in pixels of the image."""
        return self.instances.boxes

    @property
    def scores(self) -> np.ndarray:
        """float32 (n,), from 0 to 1."""
        return self.instances.scores

    @property
    def labels(self) -> np.ndarray:
        """int64 (n,), indices into :attr:`classes`."""
        return self.instances.labels

    @property
    def names(self) -> list[str]:
        """The class name of each object."""
        return [self.classes[label] for label in self.labels]

    @property
    def rles(self) -> list[dict] | None:
        """The masks in COCO's run-length encoding; None where the model has no masks."""
        return self.instances.masks

    @cached_property
    def masks(self) -> np.ndarray | None:
        """The masks, bool (n, height, width), decoded when asked for; None without masks."""
        if self.rles is None:
            return None
        if not self.rles:
            return np.zeros((0, *self.size), bool)
        return np.stack([self.mask(number) for number in range(len(self))])

    def mask(self, number: int) -> np.ndarray:
        """One mask, bool (height, width), without decoding the others."""
        return decode(self.rles[number])

    def draw(self) -> np.ndarray:
        """A copy of the image with masks, boxes, class names and scores."""
        from convnext_dense.inference.output.drawing import draw_objects

        return draw_objects(self)

    def regions(self) -> list[Region]:
        """The objects."""
        return [
            Region(
                int(label),
                float(score),
                tuple(map(float, box)),
                self.mask(number) if self.rles is not None else None,
            )
            for number, (label, score, box) in enumerate(
                zip(self.labels, self.scores, self.boxes, strict=True)
            )
        ]

    def describe(self) -> dict[str, Any]:
        """``detections``: class, score, box (left, top, right, bottom) and mask (RLE) of each."""
        rles = self.rles if self.rles is not None else [None] * len(self)
        return {
            "detections": [
                {
                    "class": self.classes[label],
                    "score": float(score),
                    "bbox": [float(edge) for edge in box],
                    **({"segmentation": _with_text(rle)} if rle else {}),
                }
                for label, score, box, rle in zip(
                    self.labels, self.scores, self.boxes, rles, strict=True
                )
            ]
        }

    def to_supervision(self) -> Any:
        """``supervision.Detections`` with class names in ``data["class_name"]``.

        Raises:
            UserError: Where the package is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise UserError("to_supervision() needs a package: pip install supervision.") from error
        return supervision.Detections(
            xyxy=self.boxes,
            mask=self.masks,
            confidence=self.scores,
            class_id=self.labels,
            data={"class_name": np.array(self.names, dtype=str)},
        )


def _with_text(rle: dict) -> dict:
    counts = rle["counts"]
    return {**rle, "counts": counts.decode() if isinstance(counts, bytes) else counts}


@dataclass(frozen=True, eq=False, repr=False)
class SegmentationResult(Result):
    """The class of every pixel of one image.

    Attributes:
        label_map: uint8 (height, width), indices into :attr:`classes`; uint16 with more than 256.
        scores_map: The probability of every class, float32 (classes, height, width), where it was
            asked for (``probabilities=True``); else None.
    """

    label_map: np.ndarray
    scores_map: np.ndarray | None = None

    @property
    def shares(self) -> dict[str, float]:
        """The part of the image that each class covers, the largest first; none of 0."""
        counts = np.bincount(self.label_map.ravel(), minlength=len(self.classes))
        shares = zip((counts / self.label_map.size).tolist(), self.classes, strict=True)
        return {name: share for share, name in sorted(shares, reverse=True) if share > 0}

    def draw(self) -> np.ndarray:
        """A copy of the image in the colours of the classes, with their names."""
        from convnext_dense.inference.output.drawing import draw_labels

        return draw_labels(self)

    def regions(self) -> list[Region]:
        """The area of each class that occurs."""
        found = []
        for label in np.unique(self.label_map).tolist():
            mask = self.label_map == label
            found.append(Region(label, None, _box(mask), mask))
        return found

    def describe(self) -> dict[str, Any]:
        """``shares``: see :attr:`shares`."""
        return {"shares": self.shares}

    def write_files(self, stem: Path) -> None:
        """Writes ``STEM_labels.png``, and the probabilities where there are some.

        The label image has one channel, and the value of a pixel is its class index: 8 bits up to
        256 classes, otherwise 16. ``STEM_probabilities.npz`` holds ``probabilities``, float16
        (classes, height, width), and ``classes``, their names.
        """
        depth = np.uint8 if len(self.classes) <= 256 else np.uint16
        write_image(stem.with_name(f"{stem.name}_labels.png"), self.label_map.astype(depth))
        if self.scores_map is not None:
            from convnext_dense.atomic_files import replacing

            arrays = dict(
                probabilities=self.scores_map.astype(np.float16),
                classes=np.array(self.classes, dtype=str),
            )
            path = stem.with_name(f"{stem.name}_probabilities.npz")
            # An open file, since numpy would add an ending to the temporary name.
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, **arrays)


@dataclass(frozen=True, eq=False, repr=False)
class PanopticResult(Result):
    """The segments of one image: instances of things, and areas of stuff; none overlap.

    Attributes:
        segment_map: int32 (height, width): k where the k-th segment is, 0 where none is.
        labels: int64 (n,), the class of each segment, an index into :attr:`classes`.
        things: The number of classes whose instances are told apart: the first ones.
    """

    segment_map: np.ndarray
    labels: np.ndarray
    things: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def names(self) -> list[str]:
        """The class name of each segment."""
        return [self.classes[label] for label in self.labels]

    def mask(self, number: int) -> np.ndarray:
        """The pixels of a segment, counted from 0, bool (height, width)."""
        return self.segment_map == number + 1

    def draw(self) -> np.ndarray:
        """A copy of the image under its segments, with their names."""
        from convnext_dense.inference.output.drawing import draw_segments

        return draw_segments(self)

    def regions(self) -> list[Region]:
        """The segments."""
        return [
            Region(int(label), None, _box(mask := self.mask(number)), mask)
            for number, label in enumerate(self.labels)
        ]

    def describe(self) -> dict[str, Any]:
        """``segments``: the id, class, kind, pixels and box (left, top, right, bottom) of each."""
        return {
            "segments": [
                {
                    "id": number,
                    "class": self.classes[region.label],
                    "isthing": region.label < self.things,
                    "area": int(region.mask.sum()),
                    "bbox": list(region.box),
                }
                for number, region in enumerate(self.regions(), start=1)
            ]
        }

    def write_files(self, stem: Path) -> None:
        """Writes ``STEM_segments.png``, whose colours are the ids, as COCO's panoptic format has.

        The id of a pixel's segment is red + 256 green + 65536 blue; 0 belongs to none.
        """
        from convnext_dense.data.panoptic.segments import write_segments

        write_segments(stem.with_name(f"{stem.name}_segments.png"), self.segment_map)


def _box(mask: np.ndarray) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a mask that is not empty."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return float(columns[0]), float(rows[0]), float(columns[-1]) + 1, float(rows[-1]) + 1


@dataclass(frozen=True, eq=False, repr=False)
class ClassificationResult(Result):
    """The class of one image.

    Attributes:
        probabilities: float32 (classes,).
    """

    probabilities: np.ndarray

    @property
    def label(self) -> int:
        """The most probable class, an index into :attr:`classes`."""
        return int(self.probabilities.argmax())

    @property
    def name(self) -> str:
        """The most probable class by name."""
        return self.classes[self.label]

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The most probable classes with their probabilities, the highest first."""
        best = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.classes[label], float(self.probabilities[label])) for label in best]

    def draw(self) -> np.ndarray:
        """A copy of the image with the most probable class in its corner."""
        from convnext_dense.inference.output.drawing import draw_class

        return draw_class(self)

    def regions(self) -> list[Region]:
        """None.

        Raises:
            UserError: Always.
        """
        raise UserError("A classification has no boxes or masks: write it as json or csv.")

    def describe(self) -> dict[str, Any]:
        """``classes``: the five most probable ones with their probabilities."""
        return {"classes": [{"class": n, "probability": p} for n, p in self.top()]}
