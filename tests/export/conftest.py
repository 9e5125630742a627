"""A detector and a segmentor of random weights, exported once for all tests of this folder."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import openvino
import pytest

from convnext_dense.config.names import EXPORTED
from convnext_dense.data.shapes.drawing import CLASSES
from convnext_dense.export.parity.check import Parity
from convnext_dense.export.run import ExportFlags, export
from convnext_dense.exported.description import FILE, read_description
from convnext_dense.exported.loading import load_exported
from convnext_dense.inference.model import Model
from convnext_dense.inference.trained.loading import load_trained
from tests.export.random_models import DETECTOR, SEGMENTOR, write_checkpoint

# In the default suite a process once ended without a word while it made these exports, after many
# other tests. Until the cause is known they are slow, and run by themselves.
APART = ("detector", "segmentor")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests of whole exports slow."""
    for item in items:
        if Path(__file__).parent in item.path.parents and set(APART) & set(item.fixturenames):
            item.add_marker(pytest.mark.slow)


UPERNET = "segmentation/upernet_convnext_a_shapes"
MASK_RCNN = "detection/mask_rcnn_convnext_a_shapes"


@dataclass(frozen=True)
class Exported:
    """A model, and what it became.

    Attributes:
        trained: In torch.
        folder: Of the export to ONNX.
        parity: Of that export.
        runtimes: Name -> the model in this runtime.
    """

    trained: Model
    folder: Path
    parity: Parity
    runtimes: dict[str, Model]


@pytest.fixture(scope="session")
def detector(tmp_path_factory) -> Exported:
    """A Mask R-CNN in onnxruntime, and the same file in OpenVINO; some images show nothing."""
    place = tmp_path_factory.mktemp("detector")
    options = {**DETECTOR, "model.test_cfg.rcnn.score_thr": 0.8}
    return exported(place, write_checkpoint(place / "a.pth", MASK_RCNN, options))


@pytest.fixture(scope="session")
def segmentor(tmp_path_factory) -> Exported:
    """An UperNet in both runtimes, for the labels of the embedded data."""
    place = tmp_path_factory.mktemp("segmentor")
    names = ("background", *CLASSES)
    return exported(place, write_checkpoint(place / "a.pth", UPERNET, SEGMENTOR, names))


def exported(place: Path, checkpoint: Path) -> Exported:
    """A checkpoint in both runtimes; the model is traced once."""
    folder, parity = export(ExportFlags(str(checkpoint), out=str(place / "onnx"), number=3))
    models = dict(onnxruntime=folder, openvino=in_openvino(folder, place / "openvino"))
    opened = {name: load_exported(found) for name, found in models.items()}
    return Exported(load_trained(checkpoint, device="cpu"), folder, parity, opened)


def in_openvino(folder: Path, out: Path) -> Path:
    """An export to ONNX as one to OpenVINO, without tracing the model again."""
    out.mkdir()
    if (folder / EXPORTED).is_file():
        shutil.copy(folder / EXPORTED, out)
    description = read_description(folder)
    graph = openvino.Core().read_model(folder / description.graph)
    openvino.save_model(graph, out / "model.xml", compress_to_fp16=False)
    made = replace(description, target="openvino", graph="model.xml")
    (out / FILE).write_text(made.to_json())
    return out
