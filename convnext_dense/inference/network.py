"""What a model predicts with: a network of torch, or an exported one."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from convnext_dense.data.bands.reading import PLAIN, Reading


@dataclass(frozen=True)
class Scores:
    """The labels of one image, and the probabilities they were chosen by.

    Attributes:
        labels: uint8 (height, width); uint16 with more than 256 classes.
        probabilities: float32 (classes, height, width) where they were asked for, else None.
    """

    labels: np.ndarray
    probabilities: np.ndarray | None


@dataclass(frozen=True)
class Segments:
    """The segments of one image.

    Attributes:
        ids: int32 (height, width): k where the k-th segment is, 0 where none is.
        labels: The class of each segment, int64 (n,).
        things: The number of classes whose instances are told apart: the first ones.
    """

    ids: np.ndarray
    labels: np.ndarray
    things: int


class Network(ABC):
    """A network with its weights, its classes and what it does to an image beforehand.

    Attributes:
        task: ``detection``, ``segmentation``, ``panoptic`` or ``classification``.
        classes: Class names, by label.
        reading: How it reads images.
        threshold: Of a segmentor whose one channel tells two classes apart: the probability from
            which the second one is chosen. None for all others.
    """

    task: str
    classes: tuple[str, ...]
    reading: Reading = PLAIN
    threshold: float | None = None

    @abstractmethod
    def check_views(self) -> None:
        """Says whether images can be predicted in several views.

        Raises:
            UserError: Where there are no views, or their results cannot be merged.
        """

    @abstractmethod
    def prepare(self, image: np.ndarray, name: str, views: bool) -> Any:
        """An image as :meth:`predict` takes it.

        Args:
            image: RGB, uint8 (height, width, 3), or with the network's channels.
            name: Its name for the message.
            views: It will be predicted in several views.

        Raises:
            UserError: For an image that the network's steps cannot take, such as too thin a one.
        """

    @abstractmethod
    def size(self, prepared: Any) -> tuple[int, ...]:
        """What prepared images must have in common to be predicted as one batch."""

    @abstractmethod
    def predict(self, prepared: Sequence[Any], views: bool, probabilities: bool) -> list[Any]:
        """Results of prepared images of one size.

        Args:
            prepared: What :meth:`prepare` gave.
            views: In several views, whose results are merged.
            probabilities: A segmentor gives those of every class too.

        Returns:
            Of each image: a detector's :class:`~convnext_dense.inference.instances.Instances`, the
            highest score first; a segmentor's :class:`Scores`; a panoptic model's
            :class:`Segments`; a classifier's probabilities, float32 (classes,).
        """

    def working(self) -> AbstractContextManager[None]:
        """What the preparing and predicting of some images happens in; by default nothing."""
        return nullcontext()
