"""The table of tasks: each is found by its scope and brings what the others ask for."""

import pytest
from mmengine.config import Config

from convnext_dense.config.load import load_config
from convnext_dense.tasks import ENTRIES, HEADLINE, OtherTask, task_of
from tests.miniature import CONFIGS

SHAPES = {
    "detection": "detection/mask_rcnn_convnext_a_shapes.py",
    "segmentation": "segmentation/upernet_convnext_a_shapes.py",
    "panoptic": "panoptic/panoptic_fpn_convnext_a_shapes.py",
    "classification": "classification/convnext_a_shapes.py",
    "self_supervised": "self_supervised/fcmae_convnext_t.py",
}
SPLITS = {"self_supervised": [1, 0, 0]}  # nothing to evaluate on


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_a_config_has_its_task(entry):
    cfg = load_config(CONFIGS.parent / SHAPES[entry.name])
    task = task_of(cfg)
    assert task.name == entry.name
    found = [len(task.datasets(cfg, split)) for split in ("train", "val", "test")]
    assert found == SPLITS.get(entry.name, [1, 1, 1])
    others = [other.load() for other in ENTRIES if other is not entry]
    assert not any(other.datasets(cfg, "train") for other in others)


def test_headlines_are_told_apart():
    assert len(set(HEADLINE)) == len(HEADLINE) == 8


def test_another_scope_is_another_task():
    task = task_of(Config(dict(default_scope="mmpretrain")))
    assert isinstance(task, OtherTask) and task.datasets({}, "train") == []
    assert task.data_browser() is None
