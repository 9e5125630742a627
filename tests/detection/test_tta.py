"""Testing in several views: equal to the plain test, symmetric, bounded, and averaged right."""

import weakref

import cv2
import numpy as np
import pytest
import torch
from mmdet.models.detectors import SOLO
from mmdet.structures import DetDataSample
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import TRANSFORMS
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from convnext_dense.detection import tta
from convnext_dense.detection.feature_store import FeatureStore
from convnext_dense.detection.tta import DetectionViews, View
from convnext_dense.errors import UserError
from tests.detection.conftest import picture

RESIZE = dict(type="Resize", scale=(128, 96), keep_ratio=True)
MERGE = dict(score_thr=0.05, nms=dict(type="nms", iou_threshold=0.5), max_per_img=12)
SCALES = [(96, 128), (64, 86)]
MODELS = [("mask_rcnn", True), ("cascade", True), ("mask_rcnn", False), ("cascade", False)]


def make_views(scales=SCALES, flip=True, **changed) -> DetectionViews:
    return DetectionViews(
        **{**dict(scales=scales, flip=flip, merge=MERGE, resize=RESIZE), **changed}
    )


def batch_of(*pictures: np.ndarray) -> dict[str, list]:
    """What the loader gives: images as read."""
    inputs = [torch.from_numpy(p.copy()).permute(2, 0, 1).contiguous() for p in pictures]
    samples = [DetDataSample(metainfo=dict(ori_shape=p.shape[:2], img_id=5)) for p in pictures]
    return dict(inputs=inputs, data_samples=samples)


def predict(views: DetectionViews, model, image: np.ndarray):
    return views.predict(model, batch_of(image))[0].pred_instances


def plain_test(model, image: np.ndarray):
    """mmdet's own test through the config's pipeline."""
    keys = ("img_id", "ori_shape", "img_shape", "scale_factor")
    steps = [dict(type="LoadImageFromNDArray"), RESIZE, dict(type="PackDetInputs", meta_keys=keys)]
    pipeline = Compose([TRANSFORMS.build({**s, "type": f"mmdet.{s['type']}"}) for s in steps])
    with torch.no_grad():
        batch = pseudo_collate([pipeline(dict(img=image, img_id=0))])
        return model.test_step(batch)[0].pred_instances


def assert_identical(one, other):
    assert sorted(one.keys()) == sorted(other.keys())
    for key, values in other.items():
        assert one[key].dtype == values.dtype and torch.equal(one[key], values), key


@pytest.mark.both_paths(slow=True)
@pytest.mark.parametrize(("name", "masks"), MODELS)
def test_one_view_is_the_plain_test(detector, name, masks):
    model = detector(name, masks)
    expected = plain_test(model, picture())
    found = predict(make_views([(96, 128)], flip=False), model, picture())
    assert_identical(found, expected)
    assert len(found) == 12 and len(found.labels.unique()) > 1
    assert ("masks" in found) == masks
    if masks:
        assert found.masks.shape[1:] == (90, 131) and 0.001 < found.masks.float().mean() < 0.9


@pytest.mark.both_paths(slow=True)
@pytest.mark.parametrize("name", ["mask_rcnn", "cascade"])
def test_mixed_precision(detector, name):
    model = detector(name)
    with torch.autocast("cpu", torch.bfloat16):
        expected = plain_test(model, picture())
        found = predict(make_views([(96, 128)], flip=False), model, picture())
        spilled = predict(make_views(feature_memory=0), model, picture())
        kept = predict(make_views(), model, picture())
    assert found.bboxes.dtype == found.scores.dtype == torch.float32
    # The plain test rounds its boxes to bfloat16 on the CPU, this one to float32.
    assert torch.allclose(found.bboxes, expected.bboxes.float(), atol=0.5)
    assert torch.equal(found.scores, expected.scores.float())
    assert torch.equal(found.labels, expected.labels)
    assert (found.masks != expected.masks).float().mean() < 0.02
    assert_identical(spilled, kept)


@pytest.mark.both_paths(slow=True)
@pytest.mark.parametrize(("name", "masks"), MODELS)
def test_a_flipped_picture_gives_the_flipped_result(detector, name, masks):
    model, views = detector(name, masks), make_views()
    found = predict(views, model, picture(1))
    turned = predict(views, model, picture(1)[:, ::-1])
    assert len(found) == len(turned) > 3
    left, top, right, bottom = turned.bboxes.unbind(1)
    assert torch.allclose(
        torch.stack([131 - right, top, 131 - left, bottom], 1), found.bboxes, atol=1e-3
    )
    assert torch.allclose(turned.scores, found.scores, atol=1e-6)
    assert torch.equal(turned.labels, found.labels)
    if masks:
        assert (turned.masks.flip(-1) != found.masks).float().mean() < 1e-4
        assert (turned.masks != found.masks).float().mean() > 1e-2


@pytest.mark.both_paths(slow=True)
def test_the_order_of_views_does_not_matter(detector):
    model = detector("cascade")
    expected = predict(make_views([(64, 86), (80, 107), (96, 128)]), model, picture(2))
    for scales in ([(96, 128), (64, 86), (80, 107)], [[80, 107], (128, 96), (64, 86), (64, 86)]):
        assert_identical(predict(make_views(scales), model, picture(2)), expected)


def by_hand(model, image: np.ndarray, boxes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The mean mask probabilities (n, 28, 28), view by view, from the model's layers alone."""
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    height, width = image.shape[:2]
    maps = []
    for short, long in SCALES:
        ratio = min(short / height, long / width)
        size = int(width * ratio + 0.5), int(height * ratio + 0.5)
        for flip in (False, True):
            view = cv2.resize(image[:, ::-1] if flip else image, size)[..., ::-1]
            padded = np.zeros((1, 3, -(-size[1] // 32) * 32, -(-size[0] // 32) * 32), np.float32)
            padded[0, :, : size[1], : size[0]] = ((view - mean) / std).transpose(2, 0, 1)
            features = model.neck(model.backbone(torch.from_numpy(padded)))
            edges = boxes.copy()
            if flip:
                edges[:, [0, 2]] = width - boxes[:, [2, 0]]
            edges *= np.array([size[0] / width, size[1] / height] * 2)
            rois = torch.from_numpy(np.c_[np.zeros(len(edges)), edges].astype(np.float32))
            head = model.roi_head
            cascade = isinstance(head.mask_head, torch.nn.ModuleList)
            pairs = (
                zip(head.mask_roi_extractor, head.mask_head, strict=True)
                if cascade
                else [(head.mask_roi_extractor, head.mask_head)]
            )
            stages = [
                mask_head(extract(features[:4], rois)).numpy() for extract, mask_head in pairs
            ]
            probability = np.mean([1 / (1 + np.exp(-logits)) for logits in stages], axis=0)
            own = probability[np.arange(len(labels)), labels]
            maps.append(own[:, :, ::-1] if flip else own)
    return np.mean(maps, axis=0)


@pytest.fixture
def averaged(monkeypatch) -> list[np.ndarray]:
    """The mean mask probabilities of every image, as they come to be pasted."""
    recorded, original = [], tta.paste_masks

    def recording(roi_head, masks, *others, **options):
        recorded.append(masks.numpy().copy())
        return original(roi_head, masks, *others, **options)

    monkeypatch.setattr(tta, "paste_masks", recording)
    return recorded


@pytest.mark.both_paths(slow=True)
@pytest.mark.parametrize("name", ["mask_rcnn", "cascade"])
def test_mask_probabilities_are_averaged_over_views(detector, averaged, name):
    model = detector(name)
    found = predict(make_views(), model, picture(3))
    with torch.no_grad():
        expected = by_hand(model, picture(3), found.bboxes.numpy(), found.labels.numpy())
    assert expected.std() > 0.05
    assert np.abs(averaged[0] - expected).max() < 1e-4
    # pasting: the centre of a box shows the middle of its probability map
    for box, mask, probability in zip(found.bboxes, found.masks, expected, strict=True):
        x, y = ((box[:2] + box[2:]) / 2).long().tolist()
        middle = probability[12:16, 12:16]
        if middle.min() > 0.6 or middle.max() < 0.4:
            assert mask[y, x] == (middle.min() > 0.6)


@pytest.mark.both_paths(slow=True)
@pytest.mark.parametrize(("name", "masks"), MODELS)
def test_a_picture_without_detections(detector, name, masks):
    model = detector(name, masks, score_thr=0.99999)
    found, expected = predict(make_views(), model, picture()), plain_test(model, picture())
    assert len(found) == 0
    assert_identical(found, expected)


@pytest.mark.both_paths(slow=True)
def test_a_batch_is_its_pictures_one_by_one(detector):
    model, views = detector("mask_rcnn"), make_views()
    pictures = [picture(4), picture(5, height=140, width=100)]
    samples = views.predict(model, batch_of(*pictures))
    assert [sample.img_id for sample in samples] == [5, 5]
    for sample, image in zip(samples, pictures, strict=True):
        assert_identical(sample.pred_instances, predict(views, model, image))
        assert sample.pred_instances.masks.shape[1:] == image.shape[:2]


@pytest.mark.both_paths(slow=True)
def test_features_are_computed_once_and_do_not_pile_up(detector, averaged):
    model = detector("cascade")
    maps, alive = [], []

    def watch(_module, _inputs, outputs):
        maps.append(weakref.ref(outputs[0]))
        alive.append(sum(ref() is not None for ref in maps))

    handle = model.neck.register_forward_hook(watch)
    try:
        results = {}
        for memory in (0, 256):
            maps.clear()
            alive.clear()
            results[memory] = predict(make_views(feature_memory=memory), model, picture(6))
            assert len(alive) == 4  # one pass a view
            assert max(alive) == (1 if memory == 0 else 4)
    finally:
        handle.remove()
    assert_identical(results[0], results[256])
    assert np.array_equal(*averaged)


class MapBytes(TorchDispatchMode):
    """Bytes of one image's maps of so many channels, also converted ones, still alive."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shape, self.storages = (1, channels), {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        outputs = function(*args, **(kwargs or {}))
        for one in tree_leaves(outputs):
            if isinstance(one, torch.Tensor) and one.dim() == 4 and one.shape[:2] == self.shape:
                storage = one.untyped_storage()
                self.storages[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        return outputs

    def alive(self) -> int:
        return sum(size for storage, size in self.storages.values() if not storage.expired())


@pytest.mark.parametrize("share", [1.0, 0.6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_waits_is_what_the_bound_counts(detector, monkeypatch, dtype, share):
    model, views, stores, waiting = detector("cascade"), make_views(), [], []
    counted = MapBytes(model.neck.out_channels)
    inputs = (96, 128), (64, 96)  # of the network, each also mirrored; maps have strides 4 to 32
    pixels = sum(2 * h * w // stride**2 for h, w in inputs for stride in (4, 8, 16, 32))
    whole = pixels * model.neck.out_channels * torch.finfo(dtype).bits // 8
    views.feature_memory = whole * share / 2**20
    merge = views.merge

    def merging(turns):
        waiting.append(counted.alive())
        return merge(turns)

    def storing(memory):
        stores.append(FeatureStore(memory))
        return stores[-1]

    monkeypatch.setattr(views, "merge", merging)
    monkeypatch.setattr(tta, "FeatureStore", storing)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16), counted:
        found = predict(views, model, picture(6))
    assert len(found) == 12
    assert waiting == [stores[0].used] and 0 < stores[0].used <= whole * share
    assert (stores[0].used == whole) == (share == 1)


def test_views_are_sorted_and_single():
    scales = [(side, 2 * side) for side in range(200, 20, -7)]
    views = make_views([*scales, (400, 200)])  # the last is there already
    assert len(views) == 2 * len(scales)
    assert views.views == [View(scale, flip) for scale in scales[::-1] for flip in (False, True)]
    assert len(make_views(flip=False)) == 2


@pytest.mark.both_paths(slow=True)
def test_soft_suppression_keeps_more(detector):
    model = detector("mask_rcnn", masks=False)
    soft = dict(MERGE, nms=dict(type="soft_nms", min_score=0.05), max_per_img=99)
    kept = {
        name: len(predict(make_views(merge=merge), model, picture(7)))
        for name, merge in (("soft", soft), ("hard", dict(MERGE, max_per_img=99)))
    }
    assert kept["soft"] > kept["hard"] > 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (dict(scales=[]), "scales is empty"),
        (dict(scales=[800]), "holds 800: a scale is"),
        (dict(scales=[(0, 10)]), "holds"),
        (dict(merge=dict(MERGE, iou=1)), "tta_views.merge: .*iou"),
        (dict(resize=dict(type="Resize", scale=(9, 9))), "keep_ratio=True"),
        (dict(feature_memory=-1), "feature_memory must be 0 or more, got -1"),
    ],
)
def test_wrong_views_are_named(changed, message):
    with pytest.raises(UserError, match=message):
        make_views(**changed)


def test_views_of_grey_pictures():
    grey = torch.from_numpy(picture()[..., 1].copy())
    view, sample = tta.make_view(grey[None], make_views().single, True)
    assert sample.img_shape == (88, 128)
    assert np.array_equal(view[0], cv2.resize(grey.numpy()[:, ::-1], (128, 88)))


def test_other_detectors_are_refused():
    with pytest.raises(UserError, match="with NMS, not SOLO: leave out --tta"):
        make_views().predict(SOLO.__new__(SOLO), batch_of(picture()))
