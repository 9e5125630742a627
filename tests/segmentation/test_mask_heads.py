"""Mask2Former in our Segmentor and views, against mmsegmentation's own classes on equal weights."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope
from mmseg.structures import SegDataSample

from convnext_dense.config.load import load_config
from convnext_dense.config.names import find_shipped
from convnext_dense.data.class_weights import check_class_weights
from convnext_dense.data.head_classes import set_num_classes
from convnext_dense.data.labels.fit_config import assume_label_classes
from convnext_dense.errors import UserError
from convnext_dense.segmentation.views import SegmentationViews

CLASSES = 5
NARROW = dict(_delete_=True, depths=[1, 1, 1, 1], dims=[16, 24, 32, 48])
OPTIONS = {"model.backbone.arch": NARROW, "model.decode_head.in_channels": [16, 24, 32, 48]}


def config(name="mask2former_convnext_a_shapes", **options):
    cfg = load_config(find_shipped(name), cfg_options={**OPTIONS, **options})
    set_num_classes(cfg.model, CLASSES, "the test")
    return cfg


def build(kind="Segmentor", **options):
    """The miniature; its masks differ from query to query, and their classes too."""
    cfg = config(**{"model.type": kind, **options})
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = MODELS.build(cfg.model).eval()
    with torch.no_grad():
        model.decode_head.cls_embed.weight.normal_(std=0.5)
        model.decode_head.mask_embed[-1].weight.normal_(std=0.5)
        for name, parameter in model.backbone.named_parameters():
            parameter.fill_(0.3) if name.endswith("gamma") else None
            parameter.normal_(std=0.1) if name.endswith("bias") else None
        # Masks that end somewhere, so that no class wins everywhere.
        model.decode_head.pixel_decoder.mask_feature.weight.normal_(std=1)
        model.decode_head.pixel_decoder.mask_feature.bias.zero_()
    return model


def picture(height=70, width=93):
    coarse = np.random.default_rng(0).integers(0, 256, (7, 9, 3)).astype(np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return torch.from_numpy(image).permute(2, 0, 1).contiguous()


def predicted_by(model, view, size):
    """mmsegmentation's result of a view (3, h, w) for an image of ``size``."""
    meta = dict(ori_shape=size, img_shape=tuple(view.shape[1:]))
    return model.test_step(dict(inputs=[view], data_samples=[SegDataSample(metainfo=meta)]))[0]


@pytest.mark.parametrize("size", [(64, 96), (70, 93)])
def test_scores_and_labels(size):
    ours, theirs = build(), build("EncoderDecoder")
    view, wanted = picture(*size), (101, 77)
    expected, found = (predicted_by(model, view, wanted) for model in (theirs, ours))
    scores = expected.seg_logits.data
    assert scores.min() >= 0 and scores.max() > 0.2 and len(expected.pred_sem_seg.data.unique()) > 1
    assert torch.equal(found.pred_sem_seg.data, expected.pred_sem_seg.data)
    torch.testing.assert_close(found.seg_logits.data.softmax(0), scores / scores.sum(0))
    ours.test_cfg.keep_scores = False
    alone = predicted_by(ours, view, wanted)
    assert "seg_logits" not in alone
    assert torch.equal(alone.pred_sem_seg.data, expected.pred_sem_seg.data)


def test_windows_have_their_own_size():
    ours = build()
    ours.test_cfg = ConfigDict(mode="slide", crop_size=(64, 64), stride=(32, 32))
    view = picture(96, 64)
    whole = ours.data_preprocessor(dict(inputs=[view], data_samples=[SegDataSample()]))["inputs"]
    meta = dict(ori_shape=(96, 64), img_shape=(96, 64), pad_shape=(96, 64))
    with torch.no_grad():
        found = ours.slide_inference(whole, [meta])
        top, low = (
            ours.decode_head.predict(ours.extract_feat(part), [dict(img_shape=(64, 64))], None)
            for part in (whole[:, :, :64], whole[:, :, 32:])
        )
    total = F.pad(top, (0, 0, 0, 32)) + F.pad(low, (0, 0, 32, 0))
    total[:, :, 32:64] /= 2
    torch.testing.assert_close(found, total)


RESIZE = dict(type="Resize", scale=(128, 64), keep_ratio=True)


@pytest.mark.parametrize("flip", [False, True])
def test_views_average_the_scores(flip):
    model, image, ratios = build("EncoderDecoder"), picture(), (0.75, 1.5)
    total = 0
    for ratio in ratios:
        factor = min(int(128 * ratio) / 93, int(64 * ratio) / 70)
        size = (int(93 * factor + 0.5), int(70 * factor + 0.5))
        for mirrored in (False, True)[: 1 + flip]:
            pixels = image.permute(1, 2, 0).numpy()
            pixels = np.ascontiguousarray(pixels[:, ::-1]) if mirrored else pixels
            view = torch.from_numpy(cv2.resize(pixels, size)).permute(2, 0, 1)
            scores = predicted_by(model, view, (70, 93)).seg_logits.data
            total = total + (scores.flip(-1) if mirrored else scores)
    views = SegmentationViews(ratios=ratios, flip=flip, resize=RESIZE)
    mean = torch.cat(list(views.mean_probabilities(build(), image)), dim=1)
    torch.testing.assert_close(mean, total / total.sum(0), rtol=0, atol=1e-5)
    strips = SegmentationViews(ratios=ratios, flip=flip, resize=RESIZE, strip_memory=0.3)
    parts = list(strips.mean_probabilities(build(), image))
    assert len(parts) > 3
    torch.testing.assert_close(torch.cat(parts, dim=1), mean, rtol=0, atol=1e-6)
    assert torch.equal(views.predict_image(build(), image)[0], total.argmax(0))


def test_class_weights_follow_the_data():
    head = config().model.decode_head
    assert head.loss_cls.class_weight == [1.0] * CLASSES + [0.1]
    cfg = load_config(find_shipped("mask2former_convnext_t_512_160k"))
    assume_label_classes(cfg)
    assert cfg.model.decode_head.loss_cls.class_weight == [1.0] * 150 + [0.1]
    # another run's, as at a resume, are counted anew
    del cfg.model.decode_head["num_classes"]
    set_num_classes(cfg.model, 3, "the test")
    assert cfg.model.decode_head.loss_cls.class_weight == [1.0] * 3 + [0.1]


def test_class_weights_of_ones_own_are_checked():
    own = {"model.decode_head.loss_cls.class_weight": [1.0, 2.0, 0.1]}
    head = config(**own).model.decode_head
    assert head.loss_cls.class_weight == [1.0, 2.0, 0.1]
    names = [f"class {number}" for number in range(CLASSES)]
    with pytest.raises(UserError, match="class_weight of 3 numbers for 5 classes: give 6"):
        check_class_weights(head, "model.decode_head", names, background=True)


def test_an_image_of_ignored_pixels_has_a_loss():
    model = build().train()
    truth = ConfigDict(data=torch.full((1, 64, 64), 255))
    samples = [SegDataSample(), SegDataSample()]
    from mmengine.structures import PixelData

    for sample, data in zip(samples, (truth["data"], torch.ones(1, 64, 64).long()), strict=True):
        sample.gt_sem_seg = PixelData(data=data)
        sample.set_metainfo(dict(img_shape=(64, 64)))
    for chosen in (samples, samples[:1] * 2):
        losses = model.loss(torch.randn(2, 3, 64, 64), chosen)
        total = sum(value.sum() for value in losses.values())
        total.backward()
        assert torch.isfinite(total)
