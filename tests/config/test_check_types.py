"""Misspelt types and settings: the nearest right name, in every section of every kind of config."""

from pathlib import Path

import pytest

from convnext_dense.config.load import load_config
from convnext_dense.errors import UserError

CONFIGS = Path(__file__).parents[2] / "configs"
D = "detection/cascade_convnext_t_3x.py"
S = "segmentation/upernet_convnext_t_512_160k.py"
C = "classification/convnext_a_cifar10.py"


@pytest.mark.parametrize(
    ("config", "option", "near"),
    [
        (D, "optim_wrapper.optimizer.lrr=1", "AdamW has no setting 'lrr'; the nearest is 'lr'"),
        (D, "optim_wrapper.optimizer.type=AdmW", "unknown type 'AdmW'; the nearest is 'AdamW'"),
        (D, "optim_wrapper.optimiser.lr=1", "no setting 'optimiser'; the nearest is 'optimizer'"),
        (D, "optim_wrapper.constructor=LayerDecay", "'LayerDecayOptimWrapperConstructor'"),
        (D, "model.backbone.drop_path_rates=1", "ConvNeXt has no .* nearest is 'drop_path_rate'"),
        (D, "model.neck.type=FPNN", "model.neck has the unknown type 'FPNN'; the nearest is 'FPN'"),
        (D, "model.roi_head.mask_roi_extractor.roi_layer.type=RoIAlgn", "nearest is 'RoIAlign'"),
        (D, "model.test_cfg.rcnn.score_th=1", "no 'score_th' there; the nearest is 'score_thr'"),
        (D, "train_dataloader.batch_sizee=1", "'batch_sizee' there; the nearest is 'batch_size'"),
        (
            D,
            "train_dataloader.dataset.pipeline.0.type=LoadImageFromFil",
            "nearest is 'LoadImageFromFile'",
        ),
        (D, "train_cfg.max_epoch=1", "ResumableEpochLoop has no .* nearest is 'max_epochs'"),
        (D, "param_scheduler.1.milestone=1", "MultiStepLR has no .* nearest is 'milestones'"),
        (D, "default_hooks.checkpoint.intervall=1", "no setting 'intervall'; .* 'interval'"),
        (D, "default_hooks.logger.type=LogerHook", "'LogerHook'; the nearest is 'LoggerHook'"),
        (D, "custom_hooks.0.foo=1", "LearningRateHook has no settings, and so no 'foo'"),
        (D, "tta_views.scale=1", "DetectionViews has no setting 'scale'; the nearest is 'scales'"),
        (D, "tta_views.merge.score_thrr=1", "no 'score_thrr' there; the nearest is 'score_thr'"),
        (D, "auto_scale_lr.base_batch_sizes=1", "the nearest is 'base_batch_size'"),
        (S, "model.decode_head.chanels=1", "UPerHead has no .* the nearest is 'channels'"),
        (S, "tta_views.ratioss=1", "SegmentationViews has no .* the nearest is 'ratios'"),
        (C, "model.backbone.archh=tiny", "ConvNeXtClassifier has no .* the nearest is 'arch'"),
        (C, "train_dataloader.dataset.transform.sizee=1", "TrainTransform .* nearest is 'size'"),
    ],
)
def test_a_misspelling_is_named_with_the_nearest(config, option, near):
    key, value = option.split("=")
    value = int(value) if value.isdigit() else value
    with pytest.raises(UserError, match=near):
        load_config(CONFIGS / config, cfg_options={key: value})


@pytest.mark.parametrize(
    ("config", "option", "value"),
    [
        (D, "model.backbone.with_cp", True),
        (D, "model.backbone.init_cfg.prefix", "x."),
        (D, "model.test_cfg.rcnn.nms.type", "soft_nms"),
        (D, "train_dataloader.drop_last", True),
        (D, "train_dataloader.dataset.indices", 4),
        (D, "optim_wrapper.clip_grad", dict(max_norm=1)),
        (D, "default_hooks.checkpoint.priority", "LOW"),
        (S, "train_dataloader.dataset.metainfo.classes", ("a", "b")),
    ],
)
def test_new_settings_that_are_right_pass(config, option, value):
    load_config(CONFIGS / config, cfg_options={option: value})


def test_a_class_of_ones_own_is_found(tmp_path, monkeypatch):
    (tmp_path / "my_hooks.py").write_text(
        "from mmengine.hooks import Hook\nfrom mmengine.registry import HOOKS\n"
        "@HOOKS.register_module()\nclass MyHook(Hook):\n"
        "    def __init__(self, depth=1, **kwargs):\n        super().__init__()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def load(**hook):
        imports = ["my_hooks", "convnext_dense.detection.coco_metric"]
        imports += ["convnext_dense.detection.roi_extractor", "convnext_dense.detection.tta"]
        options = {"custom_imports.imports": imports, "custom_hooks": [hook]}
        load_config(CONFIGS / D, cfg_options=options)

    load(type="MyHook", depth=2)
    load(type="MyHook", whatever=2)  # **kwargs: it may take anything
    with pytest.raises(UserError, match="MyHook has no setting 'dept'; the nearest is 'depth'"):
        load(type="MyHook", dept=2)
