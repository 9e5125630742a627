"""RTMDet, SegFormer's head and DeepLabV3+ exported: the results of the torch model."""

import numpy as np
import pytest

from convnext_dense.data.shapes.drawing import CLASSES
from convnext_dense.export.exportable import exportable
from convnext_dense.export.parity.pictures import drawn_pictures
from convnext_dense.export.run import ExportFlags, export
from convnext_dense.export.torch_session import ModuleSession
from convnext_dense.exported.loading import load_exported, model_of
from convnext_dense.inference.trained.loading import load_trained
from tests.export.agreement import pair_rows
from tests.export.random_models import write_checkpoint
from tests.export.test_segmentor import check

SMALL = {
    "model.backbone.arch": dict(_delete_=True, depths=[1, 1, 1, 1], dims=[16, 32, 32, 48])
}  # as many channels as the heads' norms can divide
DETECTORS, SEGMENTORS = "detection/heads", "segmentation/heads"
HEADS = {
    "rtmdet": (DETECTORS, {
        "model.neck.in_channels": [32, 32, 48],
        "model.bbox_head.stacked_convs": 1,
        "model.test_cfg.max_per_img": 20,
    }),
    "segformer": (SEGMENTORS, {"model.decode_head.in_channels": [16, 32, 32, 48]}),
    "deeplabv3plus": (SEGMENTORS, {
        "model.decode_head.in_channels": 48,
        "model.decode_head.c1_in_channels": 16,
        "model.auxiliary_head.in_channels": 32,
    }),
}  # fmt: skip


def checkpoint_of(head, folder):
    place, options = HEADS[head]
    names = CLASSES[:3] if place == DETECTORS else ("background", *CLASSES)
    config = f"{place}/{head}_convnext_a_shapes"
    return write_checkpoint(folder / "a.pth", config, {**SMALL, **options}, names)


def check_same_results(head, trained, exported):
    """As a user predicts: images of sizes that divide badly, several at once."""
    images = [*drawn_pictures(3, 3).images, np.full((100, 140, 3), 200, np.uint8)]
    if head != "rtmdet":
        check(trained, exported, images[:3])
        return
    ours = list(trained.predict(images, threshold=0))
    theirs = list(exported.predict(images, threshold=0, batch_size=2))
    for one, other in zip(ours, theirs, strict=True):
        assert len(one) > 9 and one.masks is None and other.masks is None
        pair_rows(one, other)


@pytest.mark.parametrize("head", HEADS)
def test_a_head_as_a_program_of_one_size(head, tmp_path):
    """The target and form that are made in the shortest time.

    The comparison of such an export is that of the program with the layers that became it; so
    the layers are compared with the model beside it.
    """
    checkpoint = checkpoint_of(head, tmp_path)
    trained = load_trained(checkpoint, device="cpu")
    layers = exportable(trained.network, palette=trained.legend.palette)
    session = ModuleSession(layers.module, layers.description.outputs)
    check_same_results(head, trained, model_of(layers.description, session, tmp_path))

    flags = dict(to="torch-export", number=2, sizes="fixed", input_size=(96, 128))
    _, parity = export(ExportFlags(str(checkpoint), out=str(tmp_path / "out"), **flags))
    rows = {row.what: row.difference for row in parity.rows}
    if head == "rtmdet":
        assert rows["same object and label"] == 1 and rows["largest score difference"] < 1e-4
        assert rows["largest box shift (pixels)"] < 0.01
    else:
        assert rows["equal labels"] > 0.999


@pytest.mark.slow
@pytest.mark.parametrize("to", ["onnx", "openvino", "torch-export"])
@pytest.mark.parametrize("head", HEADS)
def test_a_head_for_images_of_any_size(head, to, tmp_path):
    checkpoint = checkpoint_of(head, tmp_path)
    out, parity = export(ExportFlags(str(checkpoint), to=to, out=str(tmp_path / "out"), number=3))
    assert not parity.broken and parity.rows
    check_same_results(head, load_trained(checkpoint, device="cpu"), load_exported(out))
