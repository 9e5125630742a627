"""A tiny classifier's config with an average of the weights, and flags of fine-tuning on it."""

from argparse import Namespace
from pathlib import Path

import pytest
from mmengine.config import Config

from convnext_dense.config.settled_config import SettledConfig
from convnext_dense.data.fit import settle_with_data
from convnext_dense.finetune.settle import settle_finetuning
from tests.classification.conftest import CONFIGS, draw

TINY = f"""
_base_ = ["{CONFIGS}/convnext_a_shapes.py"]
model = dict(
    data_preprocessor=dict(mixup=0.8, cutmix=1.0, erasing=0.25),
    backbone=dict(
        arch=dict(_delete_=True, depths=(1, 1, 2, 1), dims=(8, 8, 16, 16)), drop_path_rate=0.3
    ),
)
train_cfg = dict(max_epochs=4, val_interval=1)
param_scheduler = dict(warmup=1, end=4)
optim_wrapper = dict(optimizer=dict(lr=2e-2))
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root="mini/train", transform=dict(size=32)),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root="mini/val", transform=dict(size=32)),
)
test_dataloader = val_dataloader
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=-1), logger=dict(interval=1))
visualizer = dict(vis_backends=[dict(type="LocalVisBackend")])
randomness = dict(seed=5)
"""


def make_flags(**given) -> Namespace:
    """The flags of a command line that gives these."""
    names = (
        "freeze",
        "head_lr_mult",
        "lora",
        "average_weights",
        "early_stop",
        "save_best",
        "augment",
    )
    return Namespace(**{**dict.fromkeys(names), "balance": False, "few": False, **given})


@pytest.fixture(scope="session")
def class_root(tmp_path_factory) -> Path:
    """A data root whose ``mini/`` has 8 training and 4 validation images: 4 iterations an epoch."""
    root = tmp_path_factory.mktemp("data")
    draw(root / "mini/train", 4, classes=("ant", "bee"))
    draw(root / "mini/val", 2, classes=("ant", "bee"))
    return root


@pytest.fixture
def settle(class_root, tmp_path):
    """A function from flags to the settled config of a run in a folder of its own."""

    def settle(folder: str = "run", **given) -> SettledConfig:
        path = tmp_path / "tiny.py"
        path.write_text(TINY)
        settled = settle_with_data(path, data_root=class_root, splits=("train", "val"))
        cfg: Config = settled.cfg
        cfg.work_dir = str(tmp_path / folder)
        cfg.experiment_name = f"{tmp_path}/{folder}/{len(list(tmp_path.rglob('*')))}"
        settle_finetuning(settled, make_flags(**given))
        return settled

    return settle
