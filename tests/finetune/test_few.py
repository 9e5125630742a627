"""``--few``: what it stands for, that given flags win, and where it is refused."""

from dataclasses import replace
from pathlib import Path

import pytest
from mmengine.config import Config

from convnext_dense.cli.shared.train_flags import TrainFlags
from convnext_dense.config.load import load_config
from convnext_dense.data.fit import load_fitted_config, settle_with_data
from convnext_dense.engine.runner import build_runner
from convnext_dense.errors import UserError
from convnext_dense.finetune import few
from convnext_dense.finetune.settle_data import settle_data
from tests.exact import assert_same_checkpoints
from tests.finetune.test_augment import CLASSIFIER, DETECTOR, OPTIONS

FLAGS = TrainFlags("config", few=True)


@pytest.fixture
def cfg(data_root):
    return load_fitted_config(DETECTOR, data_root=data_root, splits=("train",), cfg_options=OPTIONS)


@pytest.fixture
def preset(monkeypatch):
    values = dict(augment="mosaic", freeze="2", balance=True)
    monkeypatch.setattr(few, "PRESETS", {"detection": values})
    return values


def test_given_flags_win(cfg, preset):
    assert few.expand_few(cfg, FLAGS) == replace(FLAGS, **preset)
    assert few.describe_few(cfg, FLAGS) == "--few: --augment mosaic, --freeze 2, --balance"
    given = replace(FLAGS, augment="lsj")
    assert few.expand_few(cfg, given) == replace(given, freeze="2", balance=True)
    assert few.describe_few(cfg, given) == "--few: --freeze 2, --balance (given: --augment lsj)"
    assert few.expand_few(cfg, replace(given, few=False)) == replace(given, few=False)


def test_many_images_are_refused(cfg, preset, monkeypatch):
    monkeypatch.setattr(few, "MOST_IMAGES", 10)
    with pytest.raises(UserError, match="has 10: leave it out, or give what it stands for: --aug"):
        few.expand_few(cfg, FLAGS)
    monkeypatch.setattr(few, "MOST_IMAGES", 11)
    assert few.expand_few(cfg, FLAGS) != FLAGS


def test_presets_are_flags():
    for preset in few.PRESETS.values():
        assert preset.keys() <= vars(FLAGS).keys()


def test_classifiers_have_none(data_root):
    with pytest.raises(UserError, match="--few is for detection and segmentation, and this"):
        few.expand_few(load_config(CLASSIFIER), FLAGS)


def train(work_dir, data_root, choice: str, resume=None) -> Path:
    """Four iterations of repeated and mixed images, a checkpoint after each; the last one."""
    small = {
        **OPTIONS,
        "val_dataloader.dataset.data_root": "mini/",
        "val_dataloader.dataset.indices": 1,
        "train_cfg.max_iters": 4,
        "default_hooks.checkpoint.interval": 1,
        "default_hooks.checkpoint.by_epoch": False,
        "default_hooks.checkpoint.max_keep_ckpts": -1,
        "model.backbone.arch": dict(_delete_=True, depths=(1, 1, 1, 1), dims=(8, 8, 8, 8)),
        "model.neck.in_channels": [8, 8, 8, 8],
        "model.test_cfg.rcnn.score_thr": 0.5,
    }
    settled = settle_with_data(
        DETECTOR, data_root=data_root, splits=("train", "val"), cfg_options=small
    )
    settle_data(settled, TrainFlags("config", augment=choice, balance=True))
    cfg = settled.cfg
    cfg.train_dataloader.sampler.update(threshold=2.0, epoch_images=None)  # all are rare
    cfg.update(work_dir=str(work_dir), experiment_name=str(work_dir), randomness=dict(seed=1))
    if resume is not None:
        cfg.update(resume=True, load_from=str(resume))
    build_runner(cfg).train()
    return work_dir / "iter_4.pth"


@pytest.mark.parametrize("choice", ["mosaic", pytest.param("copy-paste", marks=pytest.mark.slow)])
def test_a_run_resumes_exactly(choice, data_root, tmp_path, monkeypatch):
    # Formatting the config for each checkpoint's meta takes longer than the training.
    monkeypatch.setattr(Config, "pretty_text", property(lambda cfg: str(cfg.filename)))
    whole = train(tmp_path / "whole", data_root, choice)
    rest = train(tmp_path / "rest", data_root, choice, resume=tmp_path / "whole/iter_2.pth")
    assert_same_checkpoints(whole, rest)
