"""Panoptic data: reading, fitting a config to it, the checks before a run."""

import json

import cv2
import numpy as np
import pytest
from mmengine.registry import init_default_scope
from pycocotools import mask as mask_api

from convnext_dense.config.load import load_config
from convnext_dense.data.check_images import build_dataset
from convnext_dense.data.fit import load_fitted_config
from convnext_dense.data.panoptic.segments import read_segments, write_segments
from convnext_dense.data.shapes.panoptic import add_panoptic
from convnext_dense.errors import UserError
from convnext_dense.preflight.data_check import check_data
from convnext_dense.tasks import task_of
from tests.miniature import leaves
from tests.panoptic.conftest import FPN, QUERIES

SHAPES = ("circle", "square", "triangle", "star", "ring", "cross")


@pytest.fixture
def fit(rooms):
    """Fits a config to the rooms; ``edit(content)`` changes the training file before."""

    def fitted(config=FPN, edit=None, **options):
        if edit is not None:
            content = json.loads((rooms / "train.json").read_text())
            edit(content)
            (rooms / "train.json").write_text(json.dumps(content))
        for split, side in (("train", "train"), ("val", "val"), ("test", "val")):
            at = f"{split}_dataloader.dataset."
            prefix = dict(img=f"images/{side}", seg=f"segments/{side}")
            options[f"{at}data_root"] = str(rooms)
            options[f"{at}ann_file"] = f"{side}.json"
            options |= {f"{at}data_prefix.{key}": value for key, value in prefix.items()}
        return load_fitted_config(config, cfg_options=options)

    return fitted


def test_classes_are_assumed_where_none_are_stated(fit):
    for config in (FPN, QUERIES):
        cfg = fit(config)
        before = cfg.model.to_dict()
        task_of(cfg).assume_classes(cfg)  # of a fitted config, as print-lr has it, nothing
        assert cfg.model.to_dict() == before


def test_ids_survive_a_png(tmp_path):
    ids = np.array([[0, 1, 255], [256, 65536, 256**3 - 1]], np.int32)
    write_segments(tmp_path / "a.png", ids)
    assert np.array_equal(read_segments(tmp_path / "a.png"), ids)
    red, green, blue = cv2.imread(str(tmp_path / "a.png"))[1, 0, ::-1].tolist()
    assert (red, green, blue) == (0, 1, 0)  # 256 is green's first step


def test_the_embedded_data_is_that_of_the_instances_and_labels(data_root, mini):
    """Masks by pycocotools, labels of the segmentation's own files."""
    cfg = load_fitted_config(FPN, data_root=data_root, cfg_options=mini)
    dataset = build_dataset(cfg, cfg.test_dataloader.dataset)
    folder = data_root / "mini"
    instances = json.loads((folder / "annotations/instances_val.json").read_text())
    for number, image in enumerate(instances["images"]):
        of_image = [a for a in instances["annotations"] if a["image_id"] == image["id"]]
        truth = dataset[number]["data_samples"]
        masks = truth.gt_instances.masks.to_ndarray().astype(bool)
        assert len(masks) == len(of_image)
        for mask, one, label, box in zip(
            masks,
            of_image,
            truth.gt_instances.labels,
            truth.gt_instances.bboxes.tensor,
            strict=True,
        ):
            rle = mask_api.frPyObjects(one["segmentation"], *one["segmentation"]["size"])
            assert np.array_equal(mask, mask_api.decode(rle).astype(bool))
            assert label == one["category_id"] - 1
            left, top, width, height = one["bbox"]
            assert box.tolist() == [left, top, left + width, top + height]
        labels = cv2.imread(str(folder / f"labels/val/{image['file_name'][:-4]}.png"), 0)
        expected = np.where(labels == 0, len(SHAPES), labels.astype(int) - 1)
        assert np.array_equal(truth.gt_sem_seg.sem_seg[0].numpy(), expected)


def test_a_set_that_was_drawn_before_gets_the_panoptic_form(data_root, tmp_path):
    folder = data_root / "mini/annotations"
    (tmp_path / "annotations").mkdir()
    text = (folder / "instances_val.json").read_text()
    (tmp_path / "annotations/instances_val.json").write_text(text)
    add_panoptic(tmp_path, "val")
    made = [path for path in tmp_path.rglob("*panoptic*/*.png")]
    assert len(made) == 6
    for path in [*made, tmp_path / "annotations/panoptic_val.json"]:
        assert (
            path.read_bytes() == (folder / path.relative_to(tmp_path / "annotations")).read_bytes()
        )


@pytest.mark.parametrize("config", [FPN, QUERIES], ids=["fpn", "queries"])
def test_heads_are_fitted_with_things_first(fit, config):
    cfg = fit(config)
    meta = cfg.train_dataloader.dataset.metainfo
    assert meta.classes == (*SHAPES, "background")  # the file has the background first
    assert (meta.thing_classes, meta.stuff_classes) == (SHAPES, ("background",))
    model = cfg.model
    counts = (6, 1)
    fusion = model.panoptic_fusion_head
    assert (fusion.num_things_classes, fusion.num_stuff_classes) == counts
    if config == FPN:
        head = model.semantic_head
        assert (head.num_things_classes, head.num_stuff_classes) == counts
        assert model.roi_head.bbox_head.num_classes == model.roi_head.mask_head.num_classes == 6
    else:
        assert model.panoptic_head.loss_cls.class_weight == [1.0] * 7 + [0.1]
    for split in ("val", "test"):
        evaluator = cfg[f"{split}_evaluator"]
        assert evaluator.ann_file.endswith("my rooms/val.json")
        assert evaluator.segments.endswith("my rooms/segments/val")


@pytest.mark.parametrize("path", leaves("panoptic"), ids=lambda path: path.stem)
def test_coco_is_assumed_where_no_data_is_read(path):
    cfg = load_config(path)
    task_of(cfg).assume_classes(cfg)
    fusion = cfg.model.panoptic_fusion_head
    assert (fusion.num_things_classes, fusion.num_stuff_classes) == (80, 53)


def test_a_fixed_number_that_is_another_is_refused(fit):
    with pytest.raises(
        UserError, match=r"semantic_head is built for 53 stuff classes but .* gives 1: rem"
    ):
        fit(**{"model.semantic_head.num_stuff_classes": 53})


def test_wrong_weights_of_classes_are_refused(fit):
    with pytest.raises(
        UserError, match=r"panoptic_head has a class_weight of 3 numbers for 7 .* give 8"
    ):
        fit(QUERIES, **{"model.panoptic_head.loss_cls.class_weight": [1.0, 2.0, 0.1]})


def a_category(content, **changes):
    content["categories"][1].update(changes)


def a_segment(content, **changes):
    content["annotations"][0]["segments_info"][0].update(changes)


EDITS = {
    "no isthing": (lambda c: c["categories"][1].pop("isthing"), "a category has no isthing"),
    "isthing": (
        lambda c: a_category(c, isthing="yes"),
        "isthing of the category 'circle' is 'yes'",
    ),
    "name twice": (lambda c: a_category(c, name="star"), "1 name of category entries occur more"),
    "instances": (
        lambda c: [a.pop("segments_info") for a in c["annotations"]],
        "an annotation has no segments_info .* instances: detectors train",
    ),
    "category": (
        lambda c: a_segment(c, category_id=99),
        "category_id 99, and the file has no such",
    ),
    "id": (lambda c: a_segment(c, id=0), "0 is no id of a segment: ids are whole numbers from 1"),
    "id twice": (
        lambda c: a_segment(c, id=c["annotations"][0]["segments_info"][1]["id"]),
        "1 id of segment entries occur more than once",
    ),
    "other image": (
        lambda c: c["annotations"][0].update(image_id=77),
        "1 annotations belong to images that the file does not list .image_id 77",
    ),
    "no list": (lambda c: c.update(images={}), "is not a COCO panoptic file: it needs images"),
    "no png": (
        lambda c: c["annotations"][0].update(file_name="gone.png"),
        "1 of 10 PNGs of segments that .* are not in .*: gone.png: copy them there",
    ),
    "no image": (
        lambda c: c["images"][0].update(file_name="gone.jpg"),
        "1 of 10 images of .* are not in",
    ),
    "other kind": (lambda c: a_category(c, isthing=0), "'circle' is a thing in one of .* stuff in"),
    "no things": (
        lambda c: [a.update(segments_info=a["segments_info"][:1]) for a in c["annotations"]],
        "has no segment of a thing .* in an image that training uses",
    ),
}


@pytest.mark.parametrize("edit, message", EDITS.values(), ids=EDITS)
def test_a_file_that_does_not_fit_is_refused(fit, edit, message):
    with pytest.raises(UserError, match=message):
        fit(edit=edit)


@pytest.mark.parametrize("kind, there", [("stuff", 1), ("things", 0)])
def test_things_and_stuff_are_needed(fit, kind, there):
    def edit(content):
        for category in content["categories"]:
            category["isthing"] = there

    with pytest.raises(UserError, match=f"has no {kind} among its categories"):
        fit(edit=edit)


def repaint(path, old: int, new: int) -> None:
    ids = read_segments(path)
    ids[ids == old] = new
    write_segments(path, ids)


def first_segment(rooms) -> tuple:
    """The PNG of the second image (of the first split), and the id of a thing in it."""
    content = json.loads((rooms / "train.json").read_text())
    annotation = content["annotations"][1]
    path = rooms / "segments/train" / annotation["file_name"]
    return path, annotation["segments_info"][1]["id"]


def test_segments_that_the_png_lacks_are_named(fit, rooms):
    cfg = fit()
    assert check_data(cfg)["train"]
    path, number = first_segment(rooms)
    repaint(path, number, 0)
    with pytest.raises(UserError, match=rf"has no pixel of the segments {number} that .* lists"):
        check_data(cfg)


def test_segments_that_the_file_lacks_are_named(fit, rooms):
    path, number = first_segment(rooms)
    ids = read_segments(path)
    ids[:3] = 99
    write_segments(path, ids)
    with pytest.raises(UserError, match="has pixels of the segments 99 that .* does not list"):
        check_data(fit())


def test_a_png_of_another_size_or_kind_is_refused(fit, rooms):
    cfg = fit()
    path, _ = first_segment(rooms)
    good = cv2.imread(str(path))
    cv2.imwrite(str(path), good[:-1])
    with pytest.raises(UserError, match=r"pixels, and its image has .*: both must have the same"):
        check_data(cfg)
    cv2.imwrite(str(path), good[..., 0])
    with pytest.raises(UserError, match="is no PNG of segments: it needs 8-bit colours"):
        check_data(cfg)
    path.write_bytes(b"no image")
    with pytest.raises(UserError, match="cannot be read as a PNG of segments"):
        check_data(cfg)


def test_crowds_and_left_out_classes_have_no_instance(fit, rooms):
    def edit(content):
        for segment in content["annotations"][1]["segments_info"][1:]:
            segment["iscrowd"] = 1

    cfg = fit(edit=edit)
    dataset = build_dataset(cfg, cfg.train_dataloader.dataset, pipeline=[])
    ids = [info["img_id"] for info in map(dataset.get_data_info, range(len(dataset)))]
    assert 2 not in ids and len(ids) == 9  # an image whose only things are crowds
    names = ["star", "background"]
    cfg = fit(**{f"{s}_dataloader.dataset.metainfo.classes": names for s in ("train", "val")})
    dataset = build_dataset(cfg, cfg.val_dataloader.dataset)
    for sample in (dataset[number]["data_samples"] for number in range(len(dataset))):
        assert set(sample.gt_instances.labels.tolist()) <= {0}
        assert set(sample.gt_sem_seg.sem_seg.unique().tolist()) <= {0, 1, 255}
    assert cfg.model.roi_head.bbox_head.num_classes == 1


def test_counts_and_remarks(fit):
    def edit(content):
        content["categories"].append(dict(id=50, name="sea", isthing=0))
        content["annotations"].pop()  # of an image without one

    cfg = fit(edit=edit, **{"train_dataloader.dataset.metainfo.classes": [*SHAPES, "background"]})
    init_default_scope("mmdet")
    task = task_of(cfg)
    said = " ".join(task.remarks(cfg, "train", ()))
    assert "1 of 10 images" in said and "have no annotation" in said and "sea" in said
    dataset = build_dataset(cfg, cfg.train_dataloader.dataset, pipeline=[])
    counts = task.count_classes(cfg, dataset, ()).counts
    assert counts["background"] == len(dataset) == 9
    infos = [dataset.get_data_info(number) for number in range(len(dataset))]
    assert sum(counts.values()) == sum(len(info["segments_info"]) for info in infos)
