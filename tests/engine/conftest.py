"""A miniature of the embedded data under another name, and a config that trains on it fast."""

from pathlib import Path

import pytest

from convnext_dense.datasets.shapes import prepare_shapes

CONFIGS = Path(__file__).parents[2] / "configs/detection"
SHAPES = CONFIGS / "cascade_convnext_a_shapes.py"
COCO = CONFIGS / "cascade_convnext_t_3x.py"


@pytest.fixture(scope="session")
def data_root(tmp_path_factory) -> Path:
    """A data root whose ``mini/`` holds 10 training and 6 validation pictures."""
    root = tmp_path_factory.mktemp("data")
    prepare_shapes(root, train=10, val=6, cls_train=1, cls_val=1).rename(root / "mini")
    return root


@pytest.fixture(scope="session")
def options() -> dict:
    """``cfg_options`` that point the shapes config at the miniature and make it small."""
    small = {
        "model.test_cfg.rcnn.max_per_img": 5,
        "train_dataloader.batch_size": 2,
    }
    for split in ("train", "val", "test"):
        small[f"{split}_dataloader.dataset.data_root"] = "mini/"
        small[f"{split}_dataloader.num_workers"] = 0
        small[f"{split}_dataloader.persistent_workers"] = False
    return small
