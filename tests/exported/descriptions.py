"""A description of a small exported model, of which a test changes what it is about."""

from typing import Any

from convnext_dense.exported.description import Description, Resizing

MEAN = (123.675, 116.28, 103.53)


def description(**fields: Any) -> Description:
    """A detector of two classes that resizes nothing."""
    usual = dict(
        task="detection",
        target="onnx",
        graph="model.onnx",
        precision="fp32",
        classes=("cat", "dog"),
        channels=3,
        mean=MEAN,
        resizing=Resizing("none"),
        outputs=("boxes", "scores", "labels"),
    )
    return Description(**{**usual, **fields})
