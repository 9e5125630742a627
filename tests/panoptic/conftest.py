"""Panoptic data as a user has it: one class of stuff stands before the things."""

import json
import shutil
from pathlib import Path

import pytest

CONFIGS = Path(__file__).parents[2] / "configs/panoptic"
FPN, QUERIES = (
    CONFIGS / f"{name}_convnext_a_shapes.py" for name in ("panoptic_fpn", "mask2former_panoptic")
)


@pytest.fixture
def rooms(data_root, tmp_path) -> Path:
    """``{train,val}.json``, ``images/{train,val}`` and ``segments/{train,val}``."""
    folder = tmp_path / "my rooms"
    for split in ("train", "val"):
        mini = data_root / "mini"
        shutil.copytree(mini / split, folder / "images" / split)
        shutil.copytree(mini / f"annotations/panoptic_{split}", folder / "segments" / split)
        content = json.loads((mini / f"annotations/panoptic_{split}.json").read_text())
        content["categories"].insert(0, content["categories"].pop())
        (folder / f"{split}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def flags(rooms) -> list:
    """The flags that name them."""
    return [
        *("--train-json", rooms / "train.json", "--val-json", rooms / "val.json"),
        *("--images", rooms / "images/train", rooms / "images/val"),
        *("--labels", rooms / "segments/train", rooms / "segments/val"),
    ]


@pytest.fixture(scope="session")
def mini() -> dict:
    """``cfg_options`` that point a shapes config at the miniature."""
    small = {"train_dataloader.batch_size": 2}
    for split in ("train", "val", "test"):
        small[f"{split}_dataloader.dataset.data_root"] = "mini/"
    return small
