"""A trained classifier as one of the networks that a model predicts with."""

from collections.abc import Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
from PIL import Image

from convnext_dense.classification.load_trained import build_classifier
from convnext_dense.classification.transforms import TestTransform
from convnext_dense.errors import UserError
from convnext_dense.inference.network import Network
from convnext_dense.inference.trained.opening import Opened
from convnext_dense.inference.trained.surroundings import reading_safely


class Classifier(Network):
    """A classifier with the test transform it was trained for.

    Args:
        opened: The checkpoint, and its config where it has one.
        device: Where to run.

    Raises:
        UserError: As :func:`convnext_dense.classification.load_trained.build_classifier`.
    """

    task = "classification"

    def __init__(self, opened: Opened, device: torch.device) -> None:
        self.trained = build_classifier(opened.content, opened.source, opened.config).to(device)
        self.opened = opened
        self.transform = TestTransform(**self.trained.transform)
        self.classes = self.trained.classes

    def working(self) -> AbstractContextManager[None]:
        """Nothing that is read executes code, and libraries do not warn of themselves."""
        return reading_safely()

    def check_views(self) -> None:
        """Refuses them: a classifier has none.

        Raises:
            UserError: Always.
        """
        raise UserError("A classifier is not tested in several views: leave tta out.")

    def prepare(self, image: np.ndarray, name: str, views: bool) -> torch.Tensor:
        """The image after the test transform, uint8 (3, side, side)."""
        return self.transform(Image.fromarray(image))

    def size(self, prepared: torch.Tensor) -> tuple[int, ...]:
        """The same for all images."""
        return tuple(prepared.shape)

    def predict(
        self, prepared: Sequence[torch.Tensor], views: bool = False, probabilities: bool = False
    ) -> list[np.ndarray]:
        """Probabilities (classes,) of each image, float32."""
        count = len(prepared)
        batch = dict(
            inputs=torch.stack(list(prepared)),
            targets=torch.zeros(count, dtype=torch.long),
            paths=[""] * count,
        )
        return list(self.trained.logits(batch).softmax(dim=1).numpy())
