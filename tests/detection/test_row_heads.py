"""The row heads and mmdet's own: outputs, losses and gradients of a whole training step."""

from copy import deepcopy

import pytest
import torch
from mmdet.models import FCNMaskHead, RPNHead
from mmengine.config import ConfigDict
from mmengine.registry import MODELS
from torch import nn

from convnext_dense.config.load import load_config
from convnext_dense.data.head_classes import set_num_classes
from convnext_dense.detection.roi_extractor import RowRoIAlign
from convnext_dense.detection.row_heads import (
    RowMaskHead,
    RowRPNHead,
    StableRPNHead,
    convolve_pixels,
)
from tests.detection.conftest import CLASSES, CONFIGS
from tests.detection.test_roi_heads import METAS, samples_with_truth


def test_pixels_times_weights_are_the_convolution():
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 3, 1)
    features = torch.randn(2, 16, 9, 7).to(memory_format=torch.channels_last).requires_grad_()
    other = features.detach().clone().requires_grad_()
    found, expected = convolve_pixels(conv, features), conv(other)
    torch.testing.assert_close(found, expected)
    gradient = torch.randn(expected.shape)
    (weight,) = torch.autograd.grad(found, conv.weight, gradient, retain_graph=True)
    found.backward(gradient)
    conv.zero_grad()
    expected.backward(gradient)
    torch.testing.assert_close(features.grad, other.grad)
    torch.testing.assert_close(weight, conv.weight.grad)


class Doubling(nn.Conv2d):
    def forward(self, features):
        return 2 * super().forward(features)


def test_another_class_of_layer_is_called():
    conv, features = (
        Doubling(4, 3, 1),
        torch.randn(1, 4, 5, 5).to(memory_format=torch.channels_last),
    )
    assert torch.equal(convolve_pixels(conv, features), conv(features))


@pytest.mark.parametrize("name", ["mask_rcnn", "cascade"])
def test_a_training_step_is_mmdets(detector, monkeypatch, name):
    ours = deepcopy(detector(name)).train()
    torch.manual_seed(0)
    nn.init.normal_(ours.rpn_head.rpn_cls.weight, std=0.5)
    cfg = load_config(CONFIGS / f"{name}_convnext_a_shapes.py")
    set_num_classes(cfg.model, CLASSES, "the test")
    parts = cfg.model.rpn_head, cfg.model.roi_head.mask_head
    parts[0].type, parts[1].type = "StableRPNHead", "FCNMaskHead"
    plain = MODELS.build(cfg.model).train()
    assert type(ours.rpn_head) is RowRPNHead and type(plain.rpn_head) is StableRPNHead
    kinds = {type(one) for one in ours.modules()} & {RowMaskHead, FCNMaskHead}
    assert kinds == {RowMaskHead}
    plain.load_state_dict(ours.state_dict())  # the same names and shapes
    step = losses_and_gradients(ours)
    monkeypatch.setattr(RowRoIAlign, "reads_rows", lambda layer, feature: False)  # torchvision's
    expected = losses_and_gradients(plain)
    for found, other in zip(step, expected, strict=True):
        assert found.keys() == other.keys() and found
        for key in found:
            torch.testing.assert_close(found[key], other[key], rtol=2e-4, atol=2e-5, msg=key)


def losses_and_gradients(model) -> tuple[dict[str, torch.Tensor], ...]:
    samples = samples_with_truth()
    for sample, meta in zip(samples, METAS, strict=False):
        sample.set_metainfo(
            dict(meta, img_shape=(96, 128), pad_shape=(96, 128), batch_input_shape=(96, 128))
        )
    images = torch.randn(len(samples), 3, 96, 128, generator=torch.Generator().manual_seed(5))
    torch.manual_seed(0)  # of the samplers
    model.zero_grad()
    found = model.loss(images, samples)
    losses = {
        key: torch.stack(value).sum() if isinstance(value, list) else value
        for key, value in found.items()
    }
    sum(value.sum() for key, value in losses.items() if "loss" in key).backward()
    gradients = {name: one.grad.clone() for name, one in model.named_parameters()}
    model.zero_grad()
    return losses, gradients


@pytest.mark.parametrize("kind", [StableRPNHead, RowRPNHead])
def test_proposals_of_equal_scores_are_the_first_anchors(detector, kind):
    """Where ReLU leaves nothing of the features, all anchors have one score."""
    rpn = deepcopy(detector("mask_rcnn")).rpn_head
    nn.init.constant_(rpn.rpn_conv.bias, -1e4)
    settings = dict(rpn.test_cfg, nms_pre=40, max_per_img=40, nms=dict(type="nms", iou_threshold=1))
    sizes = [(8, 8), (1, 1), (1, 1), (1, 1), (1, 1)]
    features = [torch.rand(1, 64, *size) for size in sizes]
    found = {}
    for name in (kind, RPNHead):
        rpn.__class__ = name
        maps = rpn(features)
        metas = [dict(img_shape=(90, 131))]
        results = rpn.predict_by_feat(*maps, batch_img_metas=metas, cfg=ConfigDict(settings))
        found[name] = results[0].bboxes
    anchors = rpn.prior_generator.grid_priors(sizes, device="cpu")[0]
    deltas = maps[1][0].detach().permute(0, 2, 3, 1).reshape(-1, 4)
    expected = rpn.bbox_coder.decode(anchors, deltas, max_shape=(90, 131))[:40]
    torch.testing.assert_close(found[kind], expected)
    assert not torch.equal(found[RPNHead], expected)  # torch's own order is another
