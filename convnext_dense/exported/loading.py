"""Opening the folder of an exported model."""

import os
from pathlib import Path

import numpy as np

from convnext_dense.errors import UserError
from convnext_dense.exported.description import Description, read_description
from convnext_dense.exported.networks import Classifier, Detector, ExportedNetwork, Segmentor
from convnext_dense.exported.preparation import check_size, prepare
from convnext_dense.exported.sessions import Session, open_session
from convnext_dense.inference.model import Model

NETWORKS: dict[str, type[ExportedNetwork]] = {
    "detection": Detector,
    "segmentation": Segmentor,
    "classification": Classifier,
}
HALF = ("fp16", "bf16")


class Backbone:
    """An exported backbone: arrays in, feature maps out.

    Args:
        description: Of the model.
        session: Of its graph.
    """

    task = "backbone"

    def __init__(self, description: Description, session: Session) -> None:
        self.description, self.session = description, session

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        """The feature maps, a stage each.

        Args:
            images: RGB, (height, width, channels), or as many of one size: (n, height, width,
                channels), on the scale of 8 bits. They are not resized.

        Returns:
            float32 (n, channels, height / stride, width / stride) each.
        """
        batch = np.asarray(images)[None] if np.ndim(images) == 3 else np.asarray(images)
        found = self.session.run({"pixels": np.stack([self.prepared(image) for image in batch])})
        return [found[name] for name in self.description.outputs]

    def prepared(self, image: np.ndarray) -> np.ndarray:
        """An image (height, width, channels) as the graph takes it."""
        name = "the image"
        return check_size(prepare(image, name, self.description), name).pixels


def load_exported(source: str | os.PathLike, device: str | None = None) -> Model | Backbone:
    """The model of a folder that ``convnext-dense export`` wrote.

    Args:
        source: The folder.
        device: Where the runtime runs it; by default the CPU.

    Returns:
        The same object as for a checkpoint; for a backbone alone, one that gives feature maps.

    Raises:
        UserError: For a damaged folder, and where its runtime is not installed.
    """
    folder = Path(source)
    description = read_description(folder)
    if description.target == "tensorrt":
        raise UserError(
            f"{folder} is made for TensorRT, which builds it on the GPU that runs it: see "
            f"build_engine.sh there; to predict here, export with --to onnx."
        )
    half = description.precision in HALF
    session = open_session(folder / description.graph, description.target, half, device)
    return model_of(description, session, folder)


def model_of(description: Description, session: Session, folder: Path) -> Model | Backbone:
    """The model of a description and its graph; ``folder`` is its name."""
    if description.task == "backbone":
        return Backbone(description, session)
    network = NETWORKS[description.task](description, session)
    return Model(
        network, str(folder), description.palette, lambda: _thresholds(description, folder)
    )


def _thresholds(description: Description, folder: Path) -> dict[str, float]:
    if not description.best_thresholds:
        raise UserError(
            f"{folder} knows no best thresholds: the checkpoint had none when it was exported. "
            "Test it on annotated images first, and export it again."
        )
    return dict(description.best_thresholds)
