"""Tiny labelled images, and a config that trains a tiny classifier on them in seconds."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs/classification"
CLASSES = ("ant", "bee", "cat")

TINY = f"""
_base_ = ["{CONFIGS}/convnext_a_shapes.py"]
model = dict(
    data_preprocessor=dict(mixup=0.8, cutmix=1.0, erasing=0.25),
    backbone=dict(
        arch=dict(_delete_=True, depths=(1, 1, 2, 1), dims=(8, 8, 8, 8)), drop_path_rate=0.3
    ),
)
train_cfg = dict(max_epochs=2, val_interval=1)
param_scheduler = dict(warmup=1, end=2)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
auto_scale_lr = dict(base_batch_size=64)
train_dataloader = dict(
    batch_size=4, dataset=dict(data_root="mini/train", transform=dict(size=32))
)
val_dataloader = dict(
    batch_size=4, dataset=dict(data_root="mini/val", transform=dict(size=32))
)
test_dataloader = val_dataloader
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=3), logger=dict(interval=1))
"""


def draw(folder: Path, count: int, classes=CLASSES) -> Path:
    """Class folders of noisy images whose colour tells the class."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 120, (40, 36, 3), dtype=np.uint8)
            pixels[..., label % 3] += 100
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def data_root(tmp_path_factory) -> Path:
    """A data root whose ``mini/`` has 27 training and 9 validation images of 3 classes."""
    root = tmp_path_factory.mktemp("data")
    draw(root / "mini/train", 9)
    draw(root / "mini/val", 3)
    return root


@pytest.fixture(scope="session")
def config(tmp_path_factory) -> Path:
    """A config file of a tiny model with everything that draws random numbers switched on."""
    path = tmp_path_factory.mktemp("configs") / "tiny.py"
    path.write_text(TINY)
    return path
