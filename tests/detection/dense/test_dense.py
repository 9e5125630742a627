"""RTMDet, RTMDet-Ins, DINO and Mask2Former as the recipes build them, in miniature."""

from functools import partial

import numpy as np
import pytest
import torch
from mmdet.models.dense_heads import RTMDetInsSepBNHead
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData

from convnext_dense.config.load import load_config
from convnext_dense.data.fit import load_fitted_config
from convnext_dense.data.head_classes import set_num_classes
from convnext_dense.engine import build_runner
from convnext_dense.errors import UserError
from convnext_dense.export.detectors.one_stage import check_one_stage
from convnext_dense.finetune.mixing_end import MixingEndHook
from tests.detection.conftest import picture
from tests.detection.test_tta import assert_identical, make_views, plain_test, predict
from tests.exact import assert_same_checkpoints
from tests.miniature import CONFIGS

HEADS = CONFIGS / "heads"
SIZES = ("img_shape", "ori_shape", "pad_shape", "batch_input_shape")
MERGE = dict(score_thr=0.0, nms=dict(type="nms", iou_threshold=0.6), max_per_img=12)
TINY = {"model.backbone.arch": dict(_delete_=True, depths=(1, 1, 1, 1), dims=(8, 16, 16, 16))}


def build(name: str, **options):
    """An untrained model whose scores are far apart, in evaluation mode."""
    cfg = load_config(HEADS / f"{name}_convnext_a_shapes.py", cfg_options=options)
    init_default_scope("mmdet")
    set_num_classes(cfg.model, 4, "the test")
    torch.manual_seed(3)
    model = MODELS.build(cfg.model).eval()
    model.init_weights()
    with torch.no_grad():
        for part, parameter in model.named_parameters():
            if "rtm_cls" in part or "rtm_kernel" in part:
                parameter.normal_(std=0.3)
    return model


@pytest.fixture(scope="module", params=["rtmdet", "rtmdet_ins"])
def dense(request):
    small = {"model.test_cfg.max_per_img": 12, "model.test_cfg.score_thr": 0.0}
    return build(request.param, **small)


def test_one_view_is_the_plain_test(dense):
    expected = plain_test(dense, picture())
    found = predict(make_views([(96, 128)], flip=False, merge=MERGE), dense, picture())
    for extra in ("priors", "kernels"):
        expected.pop(extra, None)
    assert_identical(found, expected)
    assert len(found) == 12 and len(found.labels.unique()) > 1
    if "masks" in found:
        assert found.masks.shape[1:] == (90, 131) and 0.001 < found.masks.float().mean() < 0.99


def test_masks_belong_to_the_boxes_that_are_left(dense):
    views = make_views(merge=MERGE)
    one = predict(views, dense, picture())
    other = predict(views, dense, np.ascontiguousarray(picture()[:, ::-1]))
    assert len(one) == 12 and torch.equal(one.scores, other.scores)
    assert torch.allclose(one.bboxes[:, 0], 131 - other.bboxes[:, 2], atol=1e-3)
    if "masks" in one:
        assert torch.equal(one.masks, other.masks.flip(-1)) and one.masks.any()


@pytest.mark.parametrize("name", ["dino", "mask2former_instance"])
def test_sets_are_not_merged(name):
    model = build(name)
    for refused in (make_views().check_model, partial(predict, make_views(), image=picture())):
        with pytest.raises(UserError, match="--tta merges views by suppressing .* predicts a set"):
            refused(model)


@pytest.mark.parametrize("name", ["rtmdet_ins", "dino", "mask2former_instance"])
def test_what_cannot_be_exported_is_named(name):
    words = "cannot be exported yet: of the detectors, .* and RTMDet without masks can"
    with pytest.raises(UserError, match=words):
        check_one_stage(build(name))


@pytest.mark.parametrize("name", ["rtmdet", "rtmdet_ins", "dino", "mask2former_instance"])
def test_every_parameter_has_a_gradient_also_without_an_object(name):
    """As large-scale jitter and mosaics make them; without a gradient DDP stops."""
    model = build(name).train()
    samples = [DetDataSample(metainfo=dict.fromkeys(SIZES, (64, 64))) for _ in range(2)]
    for sample in samples:
        sample.gt_instances = InstanceData(
            bboxes=torch.zeros(0, 4),
            labels=torch.zeros(0, dtype=torch.long),
            masks=BitmapMasks(np.zeros((0, 64, 64), np.uint8), 64, 64),
        )
    losses = model.loss(torch.randn(2, 3, 64, 64), samples)
    total = sum(v.sum() if torch.is_tensor(v) else sum(v) for v in losses.values())
    total.backward()
    assert torch.isfinite(total)
    assert [part for part, value in model.named_parameters() if value.grad is None] == []


def candidates() -> InstanceData:
    random = torch.Generator().manual_seed(0)
    corners = torch.rand(30, 2, generator=random) * 40
    return InstanceData(
        bboxes=torch.cat([corners, corners + 20], 1),
        scores=torch.rand(30, generator=random),
        labels=torch.arange(30) % 3,
        priors=torch.cat([corners, torch.full((30, 2), 8.0)], 1),
        kernels=torch.randn(30, 169, generator=random),
    )


def test_masks_are_mmdets_where_nothing_is_rounded_and_whole_where_it_is():
    head = build("rtmdet_ins").bbox_head
    features = torch.randn(8, 8, 12, generator=torch.Generator().manual_seed(1))
    meta = dict(img_shape=(64, 96), ori_shape=(64, 96), scale_factor=(1.0, 1.0))
    arguments = dict(cfg=head.test_cfg, rescale=True)
    ours = head._bbox_mask_post_process(candidates(), features, img_meta=meta, **arguments)
    theirs = RTMDetInsSepBNHead._bbox_mask_post_process(
        head, candidates(), features, img_meta=meta, **arguments
    )
    assert torch.equal(ours.masks, theirs.masks) and torch.equal(ours.bboxes, theirs.bboxes)
    assert len(ours) > 5 and 0 < ours.masks.float().mean() < 1
    # 2000 x 331 pixels within 640: rounded to 106 rows, so the scales differ.
    meta = dict(img_shape=(106, 640), ori_shape=(331, 2000), scale_factor=(0.32, 106 / 331))
    features = torch.randn(8, 16, 80, generator=torch.Generator().manual_seed(1))
    ours = head._bbox_mask_post_process(candidates(), features, img_meta=meta, **arguments)
    theirs = RTMDetInsSepBNHead._bbox_mask_post_process(
        head, candidates(), features, img_meta=meta, **arguments
    )
    assert ours.masks.shape[1:] == (331, 2000) and theirs.masks.shape[2] == 1999


MOSAIC = dict(type="InstanceMosaic", size=(96, 128), prob=0.5)


def run_of(name, folder, data_root, iters=4, resume=None, every=2):
    """Some iterations in batches of two on the miniature."""
    channels = {"mask2former_instance": "panoptic_head.in_channels"}.get(name, "neck.in_channels")
    wide = [8, 16, 16, 16] if name == "mask2former_instance" else [16, 16, 16]
    cfg = load_fitted_config(
        HEADS / f"{name}_convnext_a_shapes.py",
        data_root=data_root,
        splits=("train", "val"),
        cfg_options={**TINY, f"model.{channels}": wide, **MINI},
    )
    cfg.train_dataloader.dataset.pipeline.insert(2, MOSAIC)
    cfg.train_dataloader.batch_size = 2
    cfg.train_cfg.max_epochs, cfg.train_cfg.max_iters, cfg.train_cfg.val_interval = 2, iters, 2
    cfg.custom_hooks.append(dict(type="MixingEndHook", share=0.5))
    cfg.work_dir = cfg.experiment_name = str(folder)
    cfg.randomness = dict(seed=5)
    cfg.default_hooks.checkpoint.update(interval=every, by_epoch=False, max_keep_ckpts=-1)
    if resume:
        cfg.update(resume=True, load_from=str(resume))
    runner = build_runner(cfg)
    runner.train()
    return runner


MINI = {f"{split}_dataloader.dataset.data_root": "mini/" for split in ("train", "val", "test")}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("rtmdet", "dino", "mask2former_instance")
    ]
    + ["rtmdet_ins"],
)
def test_a_training_resumes_as_it_would_have_gone_on(name, tmp_path, data_root):
    runner = run_of(name, tmp_path / "whole", data_root, iters=8)
    state = runner.optim_wrapper.optimizer.state  # AdamW keeps none of what had no gradient
    assert [n for n, p in runner.model.named_parameters() if p not in state] == []
    steps = [type(s).__name__ for s in runner.train_dataloader.dataset.pipeline.transforms]
    assert "InstanceMosaic" not in steps  # the second epoch is without
    place = tmp_path / "whole/iter_6.pth"
    run_of(name, tmp_path / "resumed", data_root, iters=8, resume=place)
    assert_same_checkpoints(tmp_path / "whole/iter_8.pth", tmp_path / "resumed/iter_8.pth")


def test_a_share_outside_of_its_range_is_refused():
    with pytest.raises(UserError, match=r"share must be in \[0, 1\], got 1.5"):
        MixingEndHook(1.5)
