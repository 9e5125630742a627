"""Exported classifiers, and backbones alone."""

import cv2
import numpy as np
import pytest
import torch

from convnext_dense.errors import UserError
from convnext_dense.export.parity.pictures import drawn_pictures
from convnext_dense.export.run import ExportFlags, export
from convnext_dense.exported.loading import load_exported
from convnext_dense.inference.trained.loading import load_trained
from tests.export.conftest import UPERNET, in_openvino
from tests.export.random_models import SEGMENTOR, channels, write_checkpoint, write_classifier
from tests.running import run


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """In torch, and in both runtimes."""
    place = tmp_path_factory.mktemp("classifier")
    checkpoint = write_classifier(place / "a.pth")
    folder, _ = export(ExportFlags(str(checkpoint), out=str(place / "onnx"), number=3))
    folders = folder, in_openvino(folder, place / "openvino")
    return load_trained(checkpoint, device="cpu"), [load_exported(found) for found in folders]


def test_probabilities_of_images_of_any_size(classifier):
    trained, exported = classifier
    images = drawn_pictures(3, 6).images
    ours = list(trained.predict(images))
    assert len({result.name for result in ours}) > 1
    for model in exported:
        for batch in (1, 4):
            for one, other in zip(ours, model.predict(images, batch_size=batch), strict=True):
                np.testing.assert_allclose(other.probabilities, one.probabilities, atol=1e-5)
                assert other.name == one.name


def test_a_classifier_has_no_backbone_to_export(tmp_path):
    flags = ExportFlags(str(write_classifier(tmp_path / "a.pth")), part="backbone")
    with pytest.raises(UserError, match="A classifier has no feature maps .*: export it whole"):
        export(flags)


@pytest.fixture(scope="module", params=[3, 4])
def backbone(request, tmp_path_factory):
    """Feature maps of torch from images, and of both runtimes."""
    count = request.param
    place = tmp_path_factory.mktemp("backbone")
    options = {**SEGMENTOR, **(channels(count) if count != 3 else {})}
    checkpoint = write_checkpoint(place / "a.pth", UPERNET, options=options)
    flags = ExportFlags(str(checkpoint), part="backbone", out=str(place / "onnx"), number=2)
    folder, _ = export(flags)
    folders = folder, in_openvino(folder, place / "openvino")
    model = load_trained(checkpoint, device="cpu").network.model
    return count, model, [load_exported(found) for found in folders], folder


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (33, 200)])
def test_feature_maps(backbone, size):
    count, model, exported, _ = backbone
    images = np.random.default_rng(0).integers(0, 256, (2, *size, count), dtype=np.uint8)
    statistics = model.data_preprocessor
    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2)).float()
    with torch.no_grad():
        expected = model.backbone((pixels - statistics.mean) / statistics.std)
    for runtime in exported:
        for both in (images, images[0]):
            found = runtime(both)
            assert len(found) == len(expected) == 4
            for stage, one in zip(expected, found, strict=True):
                scale = float(stage.abs().max())
                np.testing.assert_allclose(one, stage[: len(one)], rtol=0, atol=1e-5 * scale)


def test_a_backbone_finds_nothing_in_an_image(backbone, tmp_path):
    folder = backbone[3]
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((64, 64, 3), np.uint8))
    output = run("predict", folder, tmp_path / "a.png", "--out", tmp_path / "out", code=2)
    assert "is a backbone alone, which finds nothing" in output


@pytest.mark.slow
@pytest.mark.parametrize("to", ["onnx", "openvino", "torch-export"])
def test_a_backbone_of_one_size(to, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "a.pth", UPERNET, options=SEGMENTOR)
    flags = dict(sizes="fixed", input_size=(96, 128), part="backbone", out=str(tmp_path / "out"))
    folder, parity = export(ExportFlags(str(checkpoint), to=to, number=3, **flags))
    assert not parity.broken
    found = load_exported(folder)(np.zeros((96, 128, 3), np.uint8))
    assert [one.shape[2:] for one in found] == [(24, 32), (12, 16), (6, 8), (3, 4)]


@pytest.mark.slow
@pytest.mark.parametrize("to", ["openvino", "torch-export", "tensorrt"])
def test_classifiers_for_other_targets(to, tmp_path):
    checkpoint = write_classifier(tmp_path / "a.pth")
    _, parity = export(ExportFlags(str(checkpoint), to=to, out=str(tmp_path / "out"), number=3))
    assert not parity.broken
