"""A miniature of the embedded data under another name, and a config that trains on it fast."""

import json
import shutil
from pathlib import Path

import pytest

from convnext_dense.config import shipped
from convnext_dense.config.names import shipped_configs
from convnext_dense.data.shapes.dataset import prepare_shapes

CONFIGS = Path(__file__).parents[1] / "configs/detection"
SHAPES = CONFIGS / "cascade_convnext_a_shapes.py"
COCO = CONFIGS / "cascade_convnext_t_3x.py"


def leaves(*tasks: str) -> list[Path]:
    """The shipped configs of some tasks that can be trained, those in sub-folders too."""
    found = shipped_configs().values()
    return [path for path in found if path.relative_to(shipped.CONFIGS).parts[0] in tasks]


@pytest.fixture(scope="session")
def data_root(tmp_path_factory) -> Path:
    """A data root whose ``mini/`` holds 10 training and 6 validation images."""
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


@pytest.fixture
def birds(data_root, tmp_path):
    """``train.json``, ``val.json`` and all images in ``images/``."""
    folder = tmp_path / "my birds"
    (folder / "images").mkdir(parents=True)
    for split in ("train", "val"):
        content = json.loads((data_root / f"mini/annotations/instances_{split}.json").read_text())
        for image in content["images"]:
            source, name = data_root / "mini" / split / image["file_name"], f"{split}_{image['id']}"
            image["file_name"] = f"{name}.jpg"
            shutil.copy(source, folder / "images" / image["file_name"])
        (folder / f"{split}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def streets(data_root, tmp_path):
    """``images/{train,val}``, ``labels/{train,val}`` and ``classes.txt``."""
    folder = tmp_path / "streets"
    for split in ("train", "val"):
        shutil.copytree(data_root / "mini" / split, folder / "images" / split)
        shutil.copytree(data_root / "mini/labels" / split, folder / "labels" / split)
    shutil.copy(data_root / "mini/classes.txt", folder)
    return folder
