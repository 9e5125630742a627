"""The check that belongs to every export: both models on the same images, and the table of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from convnext_dense.detection.row_heads import TiesByPlace
from convnext_dense.export.exportable import Exportable
from convnext_dense.export.parity.compare import (
    Row,
    compare_classes,
    compare_detections,
    compare_labels,
    compare_maps,
)
from convnext_dense.export.parity.pictures import Pictures
from convnext_dense.export.torch_session import ModuleSession
from convnext_dense.exported.loading import Backbone, model_of
from convnext_dense.inference.model import Model
from convnext_dense.text_table import format_columns

COMPARE = {
    "detection": compare_detections,
    "segmentation": compare_labels,
    "classification": compare_classes,
}
LEAST = 0.0  # all detections are compared


@dataclass(frozen=True)
class Parity:
    """How an exported model differs from its original.

    Attributes:
        source: The images, in words.
        annotated: Whether AP and mIoU are measured on annotations.
        rows: What was compared.
    """

    source: str
    annotated: bool
    rows: list[Row]

    @property
    def broken(self) -> list[Row]:
        """What is outside of its tolerance."""
        return [row for row in self.rows if not row.holds]

    def table(self) -> str:
        """The rows as text."""
        lines = [("", "torch", "exported", "difference", "allowed")]
        for row in self.rows:
            both = [
                f"{value:.3f}" if value is not None else "" for value in (row.torch, row.exported)
            ]
            sign = "from" if row.is_share else "to"
            allowed = "" if row.allowed is None else f"{sign} {row.allowed:g}"
            lines.append((row.what, *both, f"{row.difference:.3g}", allowed))
        truth = "annotations" if self.annotated else "the torch model's own results"
        heading = f"{self.source}; AP and mIoU on {truth}"
        return "\n".join([heading, *format_columns(lines, "<>>>>")])

    def to_json(self) -> dict[str, Any]:
        """The rows as plain data."""
        return dict(
            images=self.source,
            annotated=self.annotated,
            rows=[
                dict(what=r.what, torch=r.torch, exported=r.exported, difference=r.difference)
                for r in self.rows
            ],
        )


def check_parity(
    trained: Model,
    exported: Model | Backbone,
    model: Exportable,
    pictures: Pictures,
    batch: int = 2,
) -> Parity:
    """Runs both models on images.

    Args:
        trained: The model of torch. Of a graph of one size its layers are compared: the model
            itself would see images without the canvas that pads them.
        exported: The exported one.
        model: What was exported; a backbone's own function is compared.
        pictures: The images.
        batch: Images that go through the exported network at once where they have one size; the
            torch model sees them one by one.
    """
    owner = exported if isinstance(exported, Backbone) else exported.network
    description = owner.description
    precision, source = description.precision, pictures.source
    if isinstance(exported, Backbone):
        rows = compare_maps(*_maps(exported, model, pictures), precision)
        return Parity(source, False, rows)
    # A detector or segmentor itself would see each image without the canvas around it.
    if description.fixed and description.task != "classification":
        session = ModuleSession(model.module, description.outputs)
        trained = model_of(description, session, Path(trained.source))
        source += f"; both on a canvas of {description.fixed[0]} x {description.fixed[1]}"
    with TiesByPlace():  # as the exported model; RPN heads of mmdet itself leave ties to torch
        ours = list(trained.predict(pictures.images, threshold=LEAST))
    theirs = list(exported.predict(pictures.images, threshold=LEAST, batch_size=batch))
    rows = COMPARE[trained.task](ours, theirs, pictures, precision)
    return Parity(source, pictures.truth is not None, rows)


def _maps(
    exported: Backbone, model: Exportable, pictures: Pictures
) -> tuple[Sequence[Sequence[np.ndarray]], Sequence[Sequence[np.ndarray]]]:
    """Feature maps of both."""
    fixed = exported.description.fixed
    arrays = [image for image in pictures.images if isinstance(image, np.ndarray)]
    ours, theirs = [], []
    for image in arrays:
        image = image[: fixed[0], : fixed[1]] if fixed else image
        theirs.append(exported(image))
        pixels = torch.from_numpy(exported.prepared(image)[None])
        with torch.no_grad():
            ours.append([found.numpy() for found in model.module(pixels)])
    return ours, theirs
