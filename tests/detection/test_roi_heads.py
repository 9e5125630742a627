"""The heads that choose the class first give what mmdet's own give: every pixel, every box."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from torch.utils._python_dispatch import TorchDispatchMode

from convnext_dense.config.load import load_config
from convnext_dense.data.head_classes import set_num_classes
from convnext_dense.detection.roi_extractor import Float32RoIExtractor, RowRoIAlign
from convnext_dense.detection.roi_heads import OwnClassCascadeRoIHead, OwnClassRoIHead
from convnext_dense.detection.tta import check_supported
from tests.detection.conftest import CLASSES, CONFIGS, picture
from tests.detection.test_tta import assert_identical, make_views, plain_test, predict

OWN = {"mask_rcnn": OwnClassRoIHead, "cascade": OwnClassCascadeRoIHead}
STOCK = {"mask_rcnn": StandardRoIHead, "cascade": CascadeRoIHead}
METAS = [
    dict(ori_shape=(90, 131), scale_factor=(0.9771, 0.9667)),
    dict(ori_shape=(61, 50), scale_factor=(1.9, 1.55)),
    dict(ori_shape=(48, 64), scale_factor=(2.0, 2.0)),
]


def features(pictures: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    return tuple(
        torch.randn(pictures, 64, 96 // stride, 128 // stride, generator=generator)
        for stride in (4, 8, 16, 32)
    )


def boxes(counts: tuple[int, ...]) -> list[InstanceData]:
    """Boxes of each image, some over its border, some tiny."""
    generator, found = torch.Generator().manual_seed(2), []
    for count in counts:
        corner = torch.rand(count, 2, generator=generator) * 80 - 5
        size = torch.rand(count, 2, generator=generator) ** 2 * 90 + 0.5
        labels = torch.randint(CLASSES, (count,), generator=generator)
        found.append(InstanceData(bboxes=torch.cat([corner, corner + size], 1), labels=labels))
    return found


@pytest.fixture
def pasted(monkeypatch) -> list[torch.Tensor]:
    """The own classes' probabilities (n, h, w) of every image, as they come to be pasted."""
    recorded, original = [], FCNMaskHead._predict_by_feat_single

    def recording(self, mask_preds, bboxes, labels, *others, activate_map, **options):
        maps = mask_preds if activate_map else mask_preds.sigmoid()
        own = torch.zeros_like(labels) if self.class_agnostic else labels
        recorded.append(maps[range(len(maps)), own])
        return original(
            self, mask_preds, bboxes, labels, *others, activate_map=activate_map, **options
        )

    monkeypatch.setattr(FCNMaskHead, "_predict_by_feat_single", recording)
    return recorded


def class_agnostic(head):
    head = deepcopy(head)
    for one in head.mask_head if isinstance(head, CascadeRoIHead) else [head.mask_head]:
        one.class_agnostic = True
        one.conv_logits = torch.nn.Conv2d(one.conv_logits.in_channels, 1, 1)
        torch.nn.init.normal_(one.conv_logits.weight, std=0.5)
    return head


@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("counts", [(5,), (8, 3), (0, 4), (3, 0, 12), (1, 2, 0), (0,), (0, 0)])
@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("name", OWN)
@torch.no_grad()
def test_masks_are_mmdets(detector, pasted, name, agnostic, counts, rescale):
    head = detector(name).roi_head
    assert type(head) is OWN[name]
    head = class_agnostic(head) if agnostic else head
    inputs = features(len(counts)), METAS[: len(counts)]
    expected = STOCK[name].predict_mask(head, *inputs, boxes(counts), rescale=rescale)
    theirs = list(pasted)
    pasted.clear()
    found = head.predict_mask(*inputs, boxes(counts), rescale=rescale)
    assert [len(one.masks) for one in found] == list(counts)
    for one, other in zip(found, expected, strict=True):
        assert_identical(one, other)
    assert len(pasted) == len(theirs) == sum(count > 0 for count in counts)
    for one, other in zip(pasted, theirs, strict=True):
        assert one.dtype == other.dtype and torch.allclose(one, other, rtol=0, atol=2e-7)
        assert (one != other).sum() < 64  # what a CPU's sigmoid rounds alone, at both tensors' ends
        assert one.std() > 0.02  # there is something to confuse


@pytest.mark.parametrize("threshold", [0.3, -1])
@pytest.mark.parametrize("name", OWN)
@torch.no_grad()
def test_thresholds_are_mmdets(detector, name, threshold):
    head = detector(name, mask_thr_binary=threshold).roi_head
    for counts in ((6, 0), (0, 0)):
        inputs = features(2), METAS[:2]
        expected = STOCK[name].predict_mask(head, *inputs, boxes(counts), rescale=True)
        found = head.predict_mask(*inputs, boxes(counts), rescale=True)
        for one, other in zip(found, expected, strict=True):
            assert_identical(one, other)


@pytest.mark.parametrize("name", OWN)
def test_bfloat16_masks_are_mmdets(detector, name):
    head, inputs = detector(name).roi_head, (features(2), METAS[:2])
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        expected = STOCK[name].predict_mask(head, *inputs, boxes((9, 4)), rescale=True)
        found = head.predict_mask(*inputs, boxes((9, 4)), rescale=True)
    for one, other in zip(found, expected, strict=True):
        assert_identical(one, other)


class Sigmoids(TorchDispatchMode):
    """How many values went through a sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.values = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.sigmoid.default:
            self.values += args[0].numel()
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(("name", "stages"), [("mask_rcnn", 1), ("cascade", 3)])
@torch.no_grad()
def test_other_classes_are_left_out(detector, name, stages):
    head, seen = detector(name).roi_head, {}
    for kind, predict_mask in (
        ("ours", OWN[name].predict_mask),
        ("stock", STOCK[name].predict_mask),
    ):
        with Sigmoids() as counter:
            predict_mask(head, features(1), METAS[:1], boxes((7,)))
        seen[kind] = counter.values
    assert seen == dict(ours=7 * 28 * 28 * stages, stock=7 * 28 * 28 * stages * CLASSES)


@pytest.mark.both_paths(slow=True)
@pytest.mark.parametrize("name", OWN)
def test_configs_that_name_mmdets_heads_still_work(detector, name):
    model = detector(name)
    cfg = load_config(CONFIGS / f"{name}_convnext_a_shapes.py")
    set_num_classes(cfg.model, CLASSES, "the test")
    cfg.model.roi_head.type = STOCK[name].__name__
    cfg.model.test_cfg.rcnn.max_per_img = 12
    old = MODELS.build(cfg.model).eval()
    assert type(old.roi_head) is STOCK[name]
    old.load_state_dict(model.state_dict())  # the same names and shapes
    found, expected = (plain_test(one, picture(3)) for one in (model, old))
    assert_identical(found, expected)
    assert len(found) == 12 and np.any(found.masks.numpy())
    check_supported(old)
    views = [predict(make_views(), one, picture(3)) for one in (model, old)]
    assert_identical(*views)


def read_maps(head, monkeypatch) -> list[torch.Tensor]:
    """The finest maps that RoIAlign reads, one a call, from now on."""
    seen = []
    for extractor in head.modules():
        if isinstance(extractor, Float32RoIExtractor):
            layer, original = extractor.roi_layers[0], extractor.roi_layers[0].forward

            def reading(one, *others, original=original):
                seen.append(one)
                return original(one, *others)

            monkeypatch.setattr(layer, "forward", reading)
    return seen


def samples_with_truth() -> list[DetDataSample]:
    samples = []
    for meta, truth in zip(METAS, boxes((5, 3)), strict=False):
        sample = DetDataSample(metainfo=dict(meta, img_shape=(96, 128)))
        count = len(truth.labels)
        shapes = np.random.default_rng(count).random((count, 96, 128)) > 0.5
        truth.masks = BitmapMasks(shapes.astype(np.uint8), 96, 128)
        sample.gt_instances = truth
        samples.append(sample)
    return samples


def channels_last(dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    maps = (one.to(dtype, memory_format=torch.channels_last) for one in features(2))
    return tuple(one.requires_grad_() for one in maps)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("name", "reads"), [("mask_rcnn", 2), ("cascade", 6)])
def test_maps_are_converted_once_for_all_extractors(detector, monkeypatch, name, reads, dtype):
    head, maps = detector(name).roi_head, channels_last(dtype)
    seen = read_maps(head, monkeypatch)

    def train(kind, x) -> torch.Tensor:
        torch.manual_seed(0)  # of the sampler
        losses = kind.loss(head, x, boxes((20, 30)), samples_with_truth())
        return sum(value for key, value in losses.items() if "loss" in key)

    def test(kind, x) -> list[InstanceData]:
        with torch.no_grad():
            return kind.predict(head, x, boxes((20, 30)), samples_with_truth(), rescale=True)

    loss, found = train(OWN[name], maps), test(OWN[name], maps)
    assert len(seen) == 2 * reads
    for one_pass in (seen[:reads], seen[reads:]):
        assert all(one is one_pass[0] for one in one_pass)
        assert one_pass[0].dtype == torch.float32
        assert one_pass[0].is_contiguous(memory_format=torch.channels_last)
    assert (seen[0] is seen[-1]) == (dtype == torch.float32)  # only bfloat16 needs a copy

    wide = [one.detach().float().contiguous().requires_grad_() for one in maps]
    expected = train(STOCK[name], wide)
    assert torch.equal(loss, expected)
    for one, other in zip(found, test(STOCK[name], wide), strict=True):
        assert_identical(one, other)
    assert_identical(found[0], test(STOCK[name], maps)[0])  # an earlier run's config: six copies
    loss.backward()
    expected.backward()
    for one, other in zip(maps, wide, strict=True):
        assert torch.equal(one.grad, other.grad.to(dtype))
    assert maps[0].grad.abs().sum() > 0


def test_a_view_converts_its_maps_once_for_the_boxes_and_once_for_the_masks(detector, monkeypatch):
    # As on a GPU: the network's maps are channels-last, RoIAlign reads channels-first ones.
    monkeypatch.setattr(RowRoIAlign, "reads_rows", lambda layer, feature: False)
    model = detector("cascade")
    seen = read_maps(model.roi_head, monkeypatch)
    predict(make_views(), model, picture(3))
    assert len(seen) == 4 * 6 and len({id(one) for one in seen}) == 4 * 2


@pytest.mark.gpu
@pytest.mark.parametrize("name", OWN)
@torch.no_grad()
def test_on_a_gpu_masks_are_mmdets(detector, pasted, name):
    head, counts = deepcopy(detector(name).roi_head).cuda(), (8, 0, 3)
    inputs = tuple(one.cuda() for one in features(3)), METAS
    results = [[one.cuda() for one in boxes(counts)] for _ in range(2)]
    expected = STOCK[name].predict_mask(head, *inputs, results[0], rescale=True)
    found = head.predict_mask(*inputs, results[1], rescale=True)
    for one, other in zip(pasted[:2], pasted[2:], strict=True):
        assert one.is_cuda and torch.allclose(one, other, rtol=0, atol=1e-6)
    for one, other in zip(found, expected, strict=True):
        assert one.masks.is_cuda and torch.equal(one.bboxes, other.bboxes)
        assert (one.masks != other.masks).sum() <= 2  # of a threshold met exactly
