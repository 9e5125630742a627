"""In which part of a model a difference begins, once there is one."""

import tempfile
from pathlib import Path

from convnext_dense.export.exportable import Exportable, exportable
from convnext_dense.export.parity.check import check_parity
from convnext_dense.export.parity.pictures import drawn_pictures
from convnext_dense.export.targets import TARGETS
from convnext_dense.exported.description import FILE, Description
from convnext_dense.exported.loading import load_exported
from convnext_dense.inference.model import Model


def where_it_breaks(trained: Model, model: Exportable, description: Description) -> str:
    """The first part whose outputs differ.

    Args:
        trained: The original.
        model: What was exported.
        description: Of the export.
    """
    if description.precision != "fp32":
        return f"the precision: {description.precision} changes this model too much"
    if description.task in ("backbone", "classification"):
        return "the network itself"
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        alone = exportable(trained.network, "backbone")
        found = TARGETS["openvino" if description.target == "openvino" else "onnx"]
        small = found(alone, folder, False)
        (folder / FILE).write_text(small.to_json(), "utf-8")
        pictures = drawn_pictures(description.channels, 3)
        if check_parity(trained, load_exported(folder), alone, pictures).broken:
            return "the backbone"
    return "the neck or the heads, behind a backbone that agrees"
