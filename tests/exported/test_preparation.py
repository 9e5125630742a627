"""Images for an exported network, against the steps that the toolboxes and Pillow take."""

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import Resize
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.structures import DetDataSample
from PIL import Image

from convnext_dense.classification.transforms import TestTransform
from convnext_dense.errors import UserError
from convnext_dense.export.describing import classifier_resizing, resizing_of
from convnext_dense.exported.description import Resizing
from convnext_dense.exported.preparation import prepare
from tests.exported.descriptions import MEAN, description

SIZES = [(480, 640), (333, 500), (501, 333), (129, 97), (97, 1290), (64, 64), (1, 30)]
SCALES = [((256, 192), True), ((1333, 800), True), ((150, 90), False)]


def picture(size: tuple[int, int], channels: int = 3) -> np.ndarray:
    """Smoothed noise: neighbours differ, but are no noise that hides a shift."""
    noise = np.random.default_rng(size).integers(0, 256, (*size, channels), dtype=np.uint8)
    return cv2.blur(noise, (3, 3)).reshape(*size, channels)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scale, keep_ratio", SCALES)
def test_resizing_is_mmcvs(size, scale, keep_ratio):
    image = picture(size)
    sample = dict(img=image[..., ::-1].copy(), img_shape=size)
    expected = Resize(scale=scale, keep_ratio=keep_ratio)(sample)
    step = dict(type="Resize", scale=scale, keep_ratio=keep_ratio)
    found = prepare(image, "it", description(resizing=resizing_of(config_of(step))))
    np.testing.assert_array_equal(
        found.pixels, expected["img"][..., ::-1].transpose(2, 0, 1).astype(np.float32)
    )
    assert found.size == expected["img_shape"] and found.original == size
    assert found.scale == pytest.approx(expected["scale_factor"][::-1])


def config_of(*steps: dict):
    """The part of a config that holds the steps of its test."""
    from mmengine.config import ConfigDict

    pipeline = [dict(type="LoadImage"), *steps, dict(type="PackDetInputs")]
    return ConfigDict(
        test_dataloader=dict(dataset=dict(type="CocoDataset", pipeline=pipeline)),
    )


@pytest.mark.parametrize("divisor", [1, 32])
@pytest.mark.parametrize("size", [(64, 96), (65, 97), (33, 31)])
def test_padding_is_mmdets(size, divisor):
    image, std = picture(size), (58.4, 57.1, 57.4)
    preprocessor = DetDataPreprocessor(
        mean=list(MEAN), std=list(std), bgr_to_rgb=True, pad_size_divisor=divisor
    )
    sample = DetDataSample(metainfo=dict(img_shape=size))
    pixels = torch.from_numpy(image[..., ::-1].transpose(2, 0, 1).copy())
    expected = preprocessor(dict(inputs=[pixels], data_samples=[sample]))["inputs"][0]
    found = prepare(image, "it", description(divisor=divisor))
    normalised = (torch.from_numpy(found.pixels) - preprocessor.mean) / preprocessor.std
    torch.testing.assert_close(normalised, expected, rtol=0, atol=0)
    assert found.size == size


@pytest.mark.parametrize("settings", [
    dict(size=64), dict(size=64, crop=1.0), dict(size=64, interpolation="bilinear"),
    dict(size=384), dict(size=384, crop=0.95), dict(size=33, crop=0.9),
])  # fmt: skip
@pytest.mark.parametrize("size", [(480, 640), (501, 333), (97, 129), (64, 64), (30, 400)])
def test_classifiers_see_what_their_test_showed_them(size, settings):
    image = picture(size)
    expected = TestTransform(**settings)(Image.fromarray(image))
    side = settings["size"]
    made = description(
        task="classification", resizing=classifier_resizing(settings), fixed=(side, side)
    )
    found = prepare(image, "it", made)
    np.testing.assert_array_equal(found.pixels, expected.numpy().astype(np.float32))


def test_an_image_smaller_than_the_crop_has_black_around_it():
    from torchvision.transforms.functional import center_crop

    image = picture((21, 50))
    made = description(resizing=Resizing("none", crop=(32, 32)))
    expected = center_crop(torch.from_numpy(image.transpose(2, 0, 1).copy()), [32, 32])
    np.testing.assert_array_equal(prepare(image, "it", made).pixels, expected.numpy())


@pytest.mark.parametrize("channels", [1, 4, 6])
def test_any_number_of_channels(channels):
    image = picture((60, 81), channels)
    means = tuple(float(10 * channel) for channel in range(channels))
    made = description(
        channels=channels, mean=means, divisor=32, resizing=Resizing("stretch", (60, 40))
    )
    found = prepare(image, "it", made).pixels
    assert found.shape == (channels, 64, 64)
    for channel in range(channels):
        alone = cv2.resize(image[..., channel], (60, 40), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_array_equal(found[channel, :40, :60], alone)
        assert (found[channel, 40:] == means[channel]).all()
        assert (found[channel, :, 60:] == means[channel]).all()


def test_a_canvas_of_one_size_takes_larger_and_smaller_images():
    made = description(fixed=(64, 96), divisor=32, resizing=Resizing("inside", (96, 64)))
    for size in ((640, 320), (30, 500), (64, 96), (10, 12)):
        found = prepare(picture(size), "it", made)
        assert found.pixels.shape == (3, 64, 96)
        assert found.size[0] == 64 or found.size[1] == 96
        ratio = (found.size[0] / size[0]) / (found.size[1] / size[1])
        assert ratio == pytest.approx(1, abs=0.1)


def test_a_thin_image_is_refused_with_its_name_and_size():
    made = description(resizing=Resizing("inside", (256, 192)))
    with pytest.raises(UserError, match=r"thin\.png \(4000 x 1 pixels\) is too thin: .* 256 x 0"):
        prepare(picture((1, 4000)), "thin.png", made)


@pytest.mark.parametrize("step, sentence", [
    (dict(type="RandomFlip", prob=0.5), "has the step .*RandomFlip"),
    (dict(type="Resize", scale=(90, 90), keep_ratio=True, backend="pillow"), "backend"),
])  # fmt: skip
def test_steps_that_an_exported_model_does_not_know(step, sentence):
    with pytest.raises(UserError, match=sentence):
        resizing_of(config_of(step))


def test_an_interpolation_that_an_exported_model_does_not_know():
    with pytest.raises(UserError, match="resizes by lanczos, and .* knows bicubic and bilinear"):
        classifier_resizing(dict(size=64, interpolation="lanczos"))
