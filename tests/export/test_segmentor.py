"""Exported segmentors: the labels of the torch model, also through windows and of one channel."""

from dataclasses import replace

import numpy as np
import pytest
from mmengine.config import ConfigDict

from convnext_dense.data.shapes.drawing import CLASSES
from convnext_dense.errors import UserError
from convnext_dense.export.parity.pictures import drawn_pictures
from convnext_dense.export.run import ExportFlags, export
from convnext_dense.exported.loading import load_exported, model_of
from convnext_dense.inference.trained.loading import load_trained
from tests.export.conftest import RUNTIMES, UPERNET
from tests.export.random_models import SEGMENTOR, channels, write_checkpoint

ONE_CHANNEL = {
    "model.decode_head.out_channels": 1,
    "model.decode_head.threshold": 0.4,
    "model.decode_head.loss_decode": dict(_delete_=True, type="CrossEntropyLoss", use_sigmoid=True),
    "model.auxiliary_head": None,
}  # fmt: skip


def check(trained, exported, images, **options):
    """Equal labels but for a few pixels on an edge between classes."""
    ours = list(trained.predict(images, probabilities=True, **options))
    theirs = list(exported.predict(images, probabilities=True, **options))
    for expected, found in zip(ours, theirs, strict=True):
        assert len(np.unique(expected.label_map)) > 1
        assert (expected.label_map != found.label_map).mean() < 1e-3
        np.testing.assert_allclose(found.scores_map, expected.scores_map, atol=1e-4)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_images_of_sizes_that_divide_badly(segmentor, runtime):
    check(segmentor.trained, segmentor.runtimes[runtime], drawn_pictures(3, 6).images)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("batch", [2, 3])
def test_batches(segmentor, runtime, batch):
    images = np.random.default_rng(0).integers(0, 256, (5, 101, 90, 3), dtype=np.uint8)
    check(segmentor.trained, segmentor.runtimes[runtime], list(images), batch_size=batch)


def test_without_probabilities_the_labels_are_the_same(segmentor):
    (image,) = drawn_pictures(3, 1).images
    model = segmentor.runtimes["onnxruntime"]
    labels = model(image).label_map
    np.testing.assert_array_equal(labels, model(image, probabilities=True).label_map)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_image_too_thin_for_the_network(segmentor, runtime):
    thin = np.zeros((20, 500, 3), np.uint8)
    with pytest.raises(UserError, match="32 x 32"):
        segmentor.trained(thin)
    with pytest.raises(UserError, match="too thin .* needs at least 32 x 32"):
        segmentor.runtimes[runtime](thin)


@pytest.mark.parametrize("crop, stride", [((96, 96), (64, 64)), ((112, 80), (75, 61))])
def test_windows(segmentor, crop, stride):
    ours, theirs = segmentor.trained, segmentor.runtimes["onnxruntime"]
    description = replace(theirs.network.description, window=(crop, stride))
    sliding = model_of(description, theirs.network.session, segmentor.folder)
    usual = ours.network.model.test_cfg
    ours.network.model.test_cfg = ConfigDict(mode="slide", crop_size=crop, stride=stride)
    try:
        check(ours, sliding, drawn_pictures(3, 4).images)
    finally:
        ours.network.model.test_cfg = usual


def test_tiles(segmentor):
    images = drawn_pictures(3, 2).images
    options = dict(tile=150, overlap=0.3)
    check(segmentor.trained, segmentor.runtimes["onnxruntime"], images, **options)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["onnx", "openvino", "torch-export"])
def test_one_channel_for_two_classes(to, tmp_path):
    options = {**SEGMENTOR, **ONE_CHANNEL}
    checkpoint = write_checkpoint(tmp_path / "a.pth", UPERNET, options, CLASSES[:2])
    flags = ExportFlags(str(checkpoint), to=to, out=str(tmp_path / "out"), number=2)
    folder, _ = export(flags)
    images = drawn_pictures(3, 3).images
    check(load_trained(checkpoint, device="cpu"), load_exported(folder), images)


@pytest.mark.slow
@pytest.mark.parametrize("config, options", [
    (UPERNET, {**SEGMENTOR, **channels(1)}),
    (UPERNET, {**SEGMENTOR, **channels(4)}),
    ("segmentation/upernet_convnext_t_512_160k", {}),
])  # fmt: skip
def test_other_segmentors(config, options, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "a.pth", config, options=options)
    flags = dict(to="onnx", out=str(tmp_path / "out"), number=2)
    folder, _ = export(ExportFlags(str(checkpoint), **flags))
    count = options.get("model.backbone.in_channels", 3)
    images = drawn_pictures(count, 2).images
    check(load_trained(checkpoint, device="cpu"), load_exported(folder), images)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_a_segmentor_of_one_size(to, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "a.pth", UPERNET, options=SEGMENTOR)
    flags = dict(sizes="fixed", input_size=(160, 224), out=str(tmp_path / "out"), number=3)
    folder, parity = export(ExportFlags(str(checkpoint), to=to, **flags))
    assert "both on a canvas of 160 x 224" in parity.source
    images = drawn_pictures(3, 3).images
    model = load_exported(folder)
    together = list(model.predict(images, batch_size=3))
    for image, result in zip(images, together, strict=True):
        assert result.label_map.shape == image.shape[:2]
        np.testing.assert_array_equal(model(image).label_map, result.label_map)
