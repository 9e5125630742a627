"""A detector and a segmentor of random weights, exported once for all tests of this folder."""

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import openvino
import pytest
from filelock import FileLock

from convnext_dense.config.names import EXPORTED
from convnext_dense.data.shapes.drawing import CLASSES
from convnext_dense.export.run import ExportFlags, export
from convnext_dense.exported.description import FILE, read_description
from convnext_dense.exported.loading import load_exported
from convnext_dense.exported.sessions import openvino_core
from convnext_dense.inference.model import Model
from convnext_dense.inference.trained.loading import load_trained
from tests.export.random_models import DETECTOR, SEGMENTOR, write_checkpoint

UPERNET = "segmentation/upernet_convnext_a_shapes"
RUNTIMES = ("onnxruntime", "openvino")
MASK_RCNN = "detection/mask_rcnn_convnext_a_shapes"


@dataclass(frozen=True)
class Exported:
    """A model, and what it became.

    Attributes:
        trained: In torch.
        folder: Of the export to ONNX.
        runtimes: Name -> the model in this runtime.
    """

    trained: Model
    folder: Path
    runtimes: dict[str, Model]


@pytest.fixture(scope="session")
def detector(tmp_path_factory) -> Exported:
    """A Mask R-CNN in both runtimes; some images show nothing."""
    options = {**DETECTOR, "model.test_cfg.rcnn.score_thr": 0.8}
    return exported_once("detector", tmp_path_factory, MASK_RCNN, options)


@pytest.fixture(scope="session")
def segmentor(tmp_path_factory) -> Exported:
    """An UperNet in both runtimes, for the labels of the embedded data."""
    names = ("background", *CLASSES)
    return exported_once("segmentor", tmp_path_factory, UPERNET, SEGMENTOR, names)


def exported_once(name: str, tmp_path_factory, *model) -> Exported:
    """A model in both runtimes; the first of the run's worker processes exports it for all."""
    base = tmp_path_factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"export-{name}"
    place.mkdir(exist_ok=True)
    checkpoint, folders = place / "a.pth", (place / "onnx", place / "openvino")
    with FileLock(place / "lock"):
        if not checkpoint.is_file():
            write_checkpoint(checkpoint, *model)
        for target, folder in zip(("onnx", "openvino"), folders, strict=True):
            if not folder.is_dir():  # one is whole or absent, also where a process ended
                export(ExportFlags(str(checkpoint), to=target, out=str(folder), number=3))
    opened = dict(zip(RUNTIMES, map(load_exported, folders), strict=True))
    return Exported(load_trained(checkpoint, device="cpu"), folders[0], opened)


def in_openvino(folder: Path, out: Path) -> Path:
    """An export to ONNX as one to OpenVINO, without tracing the model again."""
    out.mkdir()
    if (folder / EXPORTED).is_file():
        shutil.copy(folder / EXPORTED, out)
    description = read_description(folder)
    graph = openvino_core().read_model(folder / description.graph)
    openvino.save_model(graph, out / "model.xml", compress_to_fp16=False)
    made = replace(description, target="openvino", graph="model.xml")
    (out / FILE).write_text(made.to_json())
    return out
