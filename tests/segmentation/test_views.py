"""Labels from several views, against the plain computation in full-size maps."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, init_default_scope
from mmseg.structures import SegDataSample

from convnext_dense.errors import UserError
from convnext_dense.segmentation.resizing import Rows, needed_rows, resize_rows
from convnext_dense.segmentation.views import SegmentationViews, check_supported, make_view

RESIZE = dict(type="Resize", scale=(128, 64), keep_ratio=True)
RATIOS = (0.75, 1.0, 1.5)
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def segmentor(classes=5, out_channels=None, align_corners=False, kind="Segmentor", padding=None):
    init_default_scope("mmseg")
    torch.manual_seed(0)
    parts = dict(
        norm_cfg=dict(type="BN"),
        num_classes=classes,
        out_channels=out_channels,
        align_corners=align_corners,
        dropout_ratio=0.1,
        threshold=0.4 if out_channels == 1 else None,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=out_channels == 1),
    )
    model = MODELS.build(
        dict(
            type=kind,
            data_preprocessor=dict(
                type="SegDataPreProcessor",
                mean=MEAN,
                std=STD,
                bgr_to_rgb=True,
                size=(32, 32),
                test_cfg=padding,
            ),
            backbone=dict(type="ConvNeXt", arch="atto", layer_scale_init_value=1.0),
            decode_head=dict(
                type="UPerHead",
                in_channels=[40, 80, 160, 320],
                in_index=[0, 1, 2, 3],
                channels=8,
                **parts,
            ),
            train_cfg=dict(),
            test_cfg=dict(mode="slide", crop_size=(32, 32), stride=(20, 20)),
        )
    )
    # Other than at initialisation: the scores differ from place to place and class to class.
    model.eval()
    classify = model.decode_head.conv_seg
    torch.nn.init.normal_(classify.weight, std=0.5)
    with torch.no_grad():
        scores = model._forward((picture() / 255.0)[None])
        classify.bias -= scores.flatten(2).median(dim=2).values[0]
    return model


def picture(height=70, width=93, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 9, 3)).astype(np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return torch.from_numpy(image).permute(2, 0, 1).contiguous()


def views(ratios=RATIOS, flip=True, **more):
    return SegmentationViews(ratios=ratios, flip=flip, resize=RESIZE, **more)


@torch.no_grad()
def plain_mean(model, image, ratios, flip, padded=lambda *size: size):
    """The average of full-size probabilities, written down without strips or stride-4 maps.

    The network sees a view in ``padded(height, width)`` pixels.
    """
    height, width = image.shape[1:]
    total, count = 0, 0
    for ratio in ratios:
        longest, shortest = int(128 * ratio), int(64 * ratio)
        factor = min(longest / max(height, width), shortest / min(height, width))
        size = (int(width * factor + 0.5), int(height * factor + 0.5))
        for mirrored in (False, True) if flip else (False,):
            pixels = image.permute(1, 2, 0).numpy()
            pixels = np.ascontiguousarray(pixels[:, ::-1]) if mirrored else pixels
            view = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)[..., ::-1]
            inputs = torch.zeros(1, 3, *padded(*size[::-1]))
            view = torch.from_numpy((view - np.array(MEAN)) / np.array(STD)).float()
            inputs[:, :, : size[1], : size[0]] = view.permute(2, 0, 1)
            maps = model.decode_head(model.backbone(inputs))
            how = dict(mode="bilinear", align_corners=model.align_corners)
            maps = F.interpolate(maps, inputs.shape[2:], **how)[:, :, : size[1], : size[0]]
            maps = F.interpolate(maps, (height, width), **how)
            scores = maps.sigmoid() if maps.shape[1] == 1 else maps.softmax(dim=1)
            total = total + (scores.flip(-1) if mirrored else scores)
            count += 1
    return (total / count)[0]


def mean_of(these, model, image):
    return torch.cat(list(these.mean_probabilities(model, image)), dim=1)


@pytest.mark.both_paths(slow=True)
@pytest.mark.parametrize("out_channels", [None, 1])
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(("ratios", "flip"), [(RATIOS, True), ((0.75,), False), ((1.5,), True)])
def test_the_mean_equals_the_plain_average(ratios, flip, align_corners, out_channels):
    model, image = segmentor(2, out_channels, align_corners), picture()
    expected = plain_mean(model, image, ratios, flip)
    assert expected.std() > 0.1
    mean = mean_of(views(ratios, flip), model, image)
    torch.testing.assert_close(mean, expected, rtol=0, atol=1e-4)


@pytest.mark.both_paths(slow=True)
def test_mmsegmentations_own_class_has_the_same_views():
    (ours, theirs), image = (segmentor(kind=k) for k in ("Segmentor", "EncoderDecoder")), picture()
    assert type(ours) is not type(theirs)
    assert torch.equal(*(views().predict_image(model, image) for model in (ours, theirs)))
    check_supported(theirs)


@pytest.mark.both_paths(slow=True)
def test_the_views_change_the_labels():
    model, image = segmentor(), picture()
    labels = [views(r, f).predict_image(model, image) for r, f in ((RATIOS, True), ((1,), False))]
    assert (labels[0] != labels[1]).float().mean() > 0.01


@pytest.mark.both_paths(slow=True)
@pytest.mark.parametrize("size", [(131, 77), (64, 93), (97, 128)])
@pytest.mark.parametrize(("classes", "out_channels"), [(7, None), (2, None), (2, 1)])
def test_the_bound_does_not_change_one_bit(classes, out_channels, size):
    model, image = segmentor(classes, out_channels), picture(*size)
    whole, strips, rows = (
        mean_of(views(strip_memory=bound), model, image) for bound in (1000, 0.05, 1e-9)
    )
    assert whole.shape[1:] == size
    assert torch.equal(whole, strips) and torch.equal(whole, rows)


@pytest.mark.both_paths(slow=True)
def test_strips_keep_to_the_bound(monkeypatch):
    tall = SegmentationViews(ratios=(1.0,), flip=True, resize=RESIZE, strip_memory=0.1)
    model, image = segmentor(), picture(300, 110)
    seen = []

    def watch(maps):
        seen.append(maps.numel() * 4)
        return maps.softmax(dim=0)

    monkeypatch.setattr("convnext_dense.segmentation.views.activate", watch)
    tall.predict_image(model, image)
    assert len(seen) > 6 and max(seen) < 0.1 * 2**20 / 4  # four such maps and the view's


@pytest.mark.both_paths(slow=True)
@pytest.mark.parametrize("out_channels", [None, 1])
def test_a_flipped_picture_has_the_flipped_labels(out_channels):
    model, image = segmentor(2, out_channels), picture()
    labels = views().predict_image(model, image)
    mirrored = views().predict_image(model, image.flip(-1))
    assert 0.05 < labels.float().mean() < 0.95
    assert torch.equal(mirrored.flip(-1), labels)


@pytest.mark.both_paths(slow=True)
def test_the_order_of_the_views_does_not_matter():
    model, image = segmentor(), picture()
    one, other = views((1.5, 0.75, 1)), views((1, 1.5, 0.75, 1.0))
    assert len(one) == len(other) == 6
    assert torch.equal(one.predict_image(model, image), other.predict_image(model, image))


@pytest.mark.both_paths(slow=True)
def test_labels_are_the_best_class_or_above_the_threshold():
    image = picture()
    model = segmentor()
    best = mean_of(views(), model, image).argmax(dim=0)
    assert torch.equal(views().predict_image(model, image)[0], best)
    model = segmentor(2, out_channels=1)
    above = mean_of(views(), model, image)[0] > 0.4
    assert 0.05 < above.float().mean() < 0.95
    assert torch.equal(views().predict_image(model, image)[0], above.long())


@pytest.mark.both_paths(slow=True)
def test_one_view_at_the_test_scale_is_the_plain_whole_test():
    model, image = segmentor(), picture()
    model.test_cfg = ConfigDict(mode="whole")
    (plain,) = views().predict_single_scale(model, dict(inputs=[image]))
    mean = mean_of(views((1.0,), False), model, image)
    torch.testing.assert_close(mean, plain.seg_logits.data.softmax(dim=0), rtol=0, atol=1e-5)


def to_multiple_of_64(height, width):
    return -(-height // 64) * 64, -(-width // 64) * 64


# Views of 48 x 64, 64 x 85 and 96 x 128 pixels: some fill the size in both sides, in one, or none.
PADDINGS = [
    (dict(size_divisor=64), to_multiple_of_64, True),
    (dict(size=(90, 100)), lambda height, width: (max(height, 90), max(width, 100)), False),
    (dict(size=(32, 32)), lambda *size: size, False),
]


@pytest.mark.parametrize(("padding", "padded", "align_corners"), PADDINGS)
def test_padding_is_cut_off_before_the_view_is_resized(padding, padded, align_corners):
    model, image = segmentor(align_corners=align_corners, padding=padding), picture()
    expected = plain_mean(model, image, RATIOS, True, padded)
    mean = mean_of(views(), model, image)
    torch.testing.assert_close(mean, expected, rtol=0, atol=1e-4)
    assert torch.equal(mean, mean_of(views(strip_memory=0.05), model, image))
    model.test_cfg = ConfigDict(mode="whole")
    (plain,) = views().predict_single_scale(model, dict(inputs=[image]))
    one = mean_of(views((1.0,), False), model, image)
    torch.testing.assert_close(one, plain.seg_logits.data.softmax(dim=0), rtol=0, atol=1e-5)


def test_pictures_of_several_sizes_in_a_batch():
    model, pictures = segmentor(), [picture(), picture(93, 70), picture()]
    model.test_cfg = ConfigDict(mode="whole")
    samples = [SegDataSample() for _ in pictures]
    batch = dict(inputs=pictures, data_samples=samples)
    found = views().predict(model, batch), views().predict_single_scale(model, batch)
    for results in found:
        assert [one.pred_sem_seg.data.shape for one in results] == [
            (1, *one.shape[1:]) for one in pictures
        ]
    (alone,) = views().predict_single_scale(model, dict(inputs=pictures[1:2]))
    assert torch.equal(found[1][1].pred_sem_seg.data, alone.pred_sem_seg.data)


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_views_of_pictures_with_other_channels(channels):
    image = torch.cat([picture(seed=seed) for seed in range(channels)])[::3].contiguous()
    assert len(image) == channels
    view = make_view(image, views().single, True)
    expected = [cv2.resize(one, (85, 64)) for one in image.flip(-1).numpy()]
    assert torch.equal(view, torch.from_numpy(np.stack(expected)))


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    ("source", "target"), [((9, 7), (31, 20)), ((31, 20), (9, 7)), ((5, 5), (5, 5))]
)
def test_strips_of_rows_equal_interpolate(source, target, align_corners):
    maps = torch.randn(3, *source)
    expected = F.interpolate(maps[None], target, mode="bilinear", align_corners=align_corners)[0]
    for step in (1, 4, target[0]):
        parts = []
        for start in range(0, target[0], step):
            rows = Rows(start, min(start + step, target[0]))
            need = needed_rows(rows, source[0], target[0], align_corners)
            present = maps[:, need.start : need.stop]
            parts.append(resize_rows(present, need, source[0], rows, target, align_corners))
        torch.testing.assert_close(torch.cat(parts, dim=1), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(ratios=()), "ratios is empty"),
        (dict(ratios=(1, 0)), "holds 0: a ratio is a number above 0"),
        (dict(ratios=("1",)), "holds '1'"),
        (dict(strip_memory=0), "strip_memory must be above 0"),
        (dict(resize=dict(type="Resize", scale_factor=0.5)), "needs a Resize step with scale"),
    ],
)
def test_wrong_entries_are_one_sentence(options, message):
    with pytest.raises(UserError, match=message):
        SegmentationViews(**{**dict(ratios=RATIOS, flip=True, resize=RESIZE), **options})


def test_a_view_that_is_too_small_and_a_model_of_another_kind():
    image = picture(64, 64)
    with pytest.raises(UserError, match="at least 32 x 32 pixels, got 6 x 6"):
        views((0.1,)).predict_image(segmentor(), image)
    with pytest.raises(UserError, match="EncoderDecoder.*not Identity"):
        views().predict(torch.nn.Identity(), dict(inputs=[image], data_samples=[None]))
