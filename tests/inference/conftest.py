"""Work folders of short runs of each task, and images of different sizes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.miniature import CONFIGS, SHAPES
from tests.running import run

SEGMENTOR = CONFIGS.parent / "segmentation/upernet_convnext_a_shapes.py"
SPLITS = ("train", "val", "test")


def flags(task: str, data_root: Path) -> list:
    """The flags by which the tools work on the miniature data."""
    options = [f"{split}_dataloader.dataset.data_root=mini/" for split in SPLITS]
    options += {
        "detection": ["model.test_cfg.rcnn.max_per_img=8", "tta_views.scales=[(96,128)]"],
        "segmentation": ["tta_views.ratios=[0.75]"],
    }[task]
    return ["--data-root", data_root, "--cfg-options", "train_dataloader.batch_size=2", *options]


@pytest.fixture(scope="session")
def work_dirs(data_root, tmp_path_factory) -> dict[str, Path]:
    """Task -> the work folder of a run of two steps."""
    found = {}
    for task, tool, config in (
        ("detection", "train", SHAPES),
        ("segmentation", "train", SEGMENTOR),
    ):
        found[task] = tmp_path_factory.mktemp("inference") / task
        arguments = ["--work-dir", found[task], "--max-iters", 2, "--seed", 1]
        run(tool, config, *arguments, *flags(task, data_root))
    return found


@pytest.fixture(scope="session")
def pictures(data_root) -> list[Path]:
    """The miniature's validation images, of six sizes."""
    return sorted((data_root / "mini/val").glob("*.jpg"))


@pytest.fixture
def array(pictures) -> np.ndarray:
    """The first of them, RGB."""
    with Image.open(pictures[0]) as image:
        return np.array(image.convert("RGB"))
