"""A training file beside a validation file: who decides what, and what only one of them has."""

import json

import pytest

from convnext_dense.data.coco.fit_config import remarks_on
from convnext_dense.errors import UserError
from tests.datasets.test_own_data import CLASSES, detection_flags, load
from tests.miniature import SHAPES


def change(birds, split, edit):
    path = birds / f"{split}.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def without_masks(content):
    for annotation in content["annotations"]:
        annotation.pop("segmentation")


def without_annotations(content):
    content["annotations"] = []


def with_a_class(content, name="fish", instances=2):
    content["categories"].append(dict(id=99, name=name))
    for annotation in content["annotations"][:instances]:
        annotation["category_id"] = 99


def has_masks(cfg) -> bool:
    return "mask_head" in cfg.model.roi_head


@pytest.mark.parametrize(
    ("edit", "metric", "remark"),
    [
        (without_annotations, None, "val.json has no annotation: there are no figures on it"),
        (without_masks, ["bbox"], "val.json has no masks: boxes alone are evaluated on it"),
    ],
)
def test_the_validation_file_does_not_change_the_model(birds, edit, metric, remark):
    before = load(SHAPES, *detection_flags(birds))
    change(birds, "val", edit)
    cfg = load(SHAPES, *detection_flags(birds))
    assert cfg.model == before.model and has_masks(cfg)
    assert cfg.val_evaluator.get("metric") == (metric or before.val_evaluator.get("metric"))
    steps = {n.type: n for n in cfg.train_dataloader.dataset.pipeline}
    assert steps["LoadAnnotations"].with_mask
    assert any(remark in line for line in remarks_on(cfg, "val"))


def test_a_training_file_of_boxes_makes_a_detector_of_boxes(birds):
    change(birds, "train", without_masks)
    cfg = load(SHAPES, *detection_flags(birds))
    assert not has_masks(cfg) and cfg.val_evaluator.metric == ["bbox"]


def test_a_test_on_a_file_without_annotations_keeps_all(birds):
    change(birds, "val", without_annotations)
    cfg = load(SHAPES, *detection_flags(birds)[2:], splits=("test",))
    assert has_masks(cfg) and cfg.test_evaluator.metric == ["bbox", "segm"]


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_class_of_one_file_alone_is_refused(birds, split):
    change(birds, split, with_a_class)
    words = "has annotations of 1 class that .*train.json does not have: fish .2..*classes=NAME"
    words = "val.json has no class 'fish'" if split == "train" else words
    with pytest.raises(UserError, match=words):
        load(SHAPES, *detection_flags(birds))


def test_a_class_that_is_left_out_on_purpose_is_said(birds):
    change(birds, "val", with_a_class)
    chosen = {"train_dataloader.dataset.metainfo.classes": sorted(CLASSES)}
    cfg = load(SHAPES, *detection_flags(birds), options=chosen)
    assert len(cfg.val_dataloader.dataset.metainfo.classes) == 6
    (line,) = remarks_on(cfg, "val")
    assert "1 class that the model does not have are left out: fish (2)" in line
    # a checkpoint of the six classes, tested on the file of seven
    cfg = load(SHAPES, *detection_flags(birds)[2:], splits=("test",),
               classes=cfg.val_dataloader.dataset.metainfo.classes)  # fmt: skip
    assert remarks_on(cfg, "test") == [line]


def test_a_category_without_annotation_is_no_difference(birds):
    change(birds, "val", lambda content: with_a_class(content, instances=0))
    cfg = load(SHAPES, *detection_flags(birds))
    assert remarks_on(cfg, "val") == [] and remarks_on(cfg, "train") == []


def test_classes_without_an_instance_are_said(birds):
    for split in ("train", "val"):
        change(birds, split, lambda c: c["categories"].insert(0, dict(id=0, name="none")))
        change(birds, split, lambda c: c["categories"].append(dict(id=50, name="moth")))
    cfg = load(SHAPES, *detection_flags(birds))
    (line,) = remarks_on(cfg, "train")
    assert line.startswith("2 of 8 classes have no instance to train on: none, moth (where 'none'")
    assert remarks_on(cfg, "val") == []
    # crowds and what the filter takes away are no instances
    name = json.loads((birds / "train.json").read_text())["categories"][1]["name"]
    change(birds, "train", lambda c: [a.update(iscrowd=1) for a in c["annotations"]
                                      if a["category_id"] == c["categories"][1]["id"]])  # fmt: skip
    crowds, line = remarks_on(load(SHAPES, *detection_flags(birds)), "train")
    assert "iscrowd = 1: nothing is trained" in crowds and f"none, {name}, moth" in line


def test_what_is_there_twice_is_said(birds):
    def twice(content):
        content["images"].append(dict(content["images"][0], id=1000))
        copies = [dict(a, id=2000 + n) for n, a in enumerate(content["annotations"][:3])]
        content["annotations"] += copies

    change(birds, "train", twice)
    files, annotations = remarks_on(load(SHAPES, *detection_flags(birds)), "train")
    assert "1 of 10 files are listed as several images, such as train_1.jpg" in files
    assert "3 of " in annotations and "of an earlier one: each is counted" in annotations


@pytest.mark.parametrize("name", ["train.txt", "train"])
def test_a_list_of_images_is_no_coco_file(birds, name):
    (birds / name).write_text("train_1\ntrain_2\n")
    options = {"train_dataloader.dataset.ann_file": name}
    with pytest.raises(UserError, match=f"{name} is no JSON: its first line is 'train_1'"):
        load(SHAPES, *detection_flags(birds), options=options)


@pytest.mark.parametrize("count", [6, 8])
def test_class_weights_count_the_background(birds, count):
    key = "model.roi_head.bbox_head.1.loss_cls.class_weight"
    with pytest.raises(UserError, match=f"a class_weight of {count} numbers for 6 classes: give 7"):
        load(SHAPES, *detection_flags(birds), options={key: [1.0] * count})
    load(SHAPES, *detection_flags(birds), options={key: [1.0] * 7})
