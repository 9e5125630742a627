"""Label images that tell objects apart, as COCO annotations: compared with pycocotools' masks."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from convnext_dense.data.coco.check_entries import check_coco
from convnext_dense.data.layouts.instances import (
    LabelObject,
    components,
    labels_to_coco,
    panoptic_objects,
)
from convnext_dense.errors import UserError
from tests.layouts.drawn import SIZE, save, save_image
from tests.running import run

WIDTH, HEIGHT = SIZE


def blocks(*areas) -> np.ndarray:
    """Values (height, width): 0, and areas of (value, x, y, width, height)."""
    values = np.zeros((HEIGHT, WIDTH), np.int64)
    for value, x, y, width, height in areas:
        values[y : y + height, x : x + width] = value
    return values


def masks_of(content: dict, folder) -> list[tuple[str, bool, np.ndarray]]:
    """Class, crowd and mask of each annotation, read by pycocotools from the written file."""
    (folder / "found.json").write_text(json.dumps(content))
    coco = COCO(str(folder / "found.json"))
    for one in coco.anns.values():
        rle = coco.annToRLE(one)
        mask = coco.annToMask(one)
        rows, columns = np.nonzero(mask)
        box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert one["bbox"] == box and one["area"] == mask.sum() and rle["size"] == [HEIGHT, WIDTH]
    return [
        (coco.cats[one["category_id"]]["name"], bool(one["iscrowd"]), coco.annToMask(one) == 1)
        for one in coco.anns.values()
    ]


def check(found, expected) -> None:
    assert [one[:2] for one in found] == [one[:2] for one in expected]
    for (_, _, mask), (_, _, wanted) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mask, wanted)


def convert(source, target, *flags) -> dict:
    run("convert_data", source, target, "--to", "coco", *flags)
    return json.loads(next(target.rglob("*train*.json")).read_text())


@pytest.mark.slow
def test_cityscapes_instances(tmp_path):
    values = blocks((26001, 2, 2, 9, 5), (26002, 11, 2, 4, 4), (24000, 20, 9, 3, 12),
                    (26, 25, 20, 9, 6), (7, 0, 28, 40, 2), (29000, 30, 2, 3, 3))  # fmt: skip
    root = tmp_path / "city"
    stem = "aachen/aachen_000000_000019"
    save_image(root / f"leftImg8bit/train/{stem}_leftImg8bit.png")
    save(root / f"gtFine/train/{stem}_gtFine_labelIds.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    save(root / f"gtFine/train/{stem}_gtFine_instanceIds.png", values.astype(np.uint16))
    content = convert(root, tmp_path / "coco")
    assert [one["name"] for one in content["categories"]][:3] == ["person", "rider", "car"]
    check(
        masks_of(content, tmp_path),
        [("car", True, values == 26), ("person", False, values == 24000),
         ("car", False, values == 26001), ("car", False, values == 26002)],
    )  # fmt: skip
    check_coco("found.json", content)


def test_voc_objects(tmp_path):
    objects = blocks((1, 2, 2, 9, 5), (2, 11, 2, 4, 4), (255, 20, 0, 1, 30))
    classes = blocks((1, 2, 2, 9, 5), (3, 11, 2, 4, 4), (255, 20, 0, 1, 30))
    root = tmp_path / "voc"
    save_image(root / "JPEGImages/a.jpg")
    save(root / "SegmentationClass/a.png", classes.astype(np.uint8))
    save(root / "SegmentationObject/a.png", objects.astype(np.uint8))
    (root / "classes.txt").write_text("background\ncat\ndog\nbird\n")
    found = masks_of(convert(root, tmp_path / "coco"), tmp_path)
    check(found, [("cat", False, objects == 1), ("bird", False, objects == 2)])
    classes[2, 2] = 3  # an object of two classes
    save(root / "SegmentationClass/a.png", classes.astype(np.uint8))
    output = run("convert_data", root, tmp_path / "no", "--to", "coco", code=2)
    assert "The object 1 of" in output and "has the labels [1, 3]" in output


def test_mapillary_instances(tmp_path):
    root = tmp_path / "vistas"
    values = blocks((1 * 256 + 1, 2, 2, 9, 5), (1 * 256 + 2, 11, 2, 4, 4), (2 * 256, 0, 20, 40, 9))
    save_image(root / "training/images/m.jpg")
    save(root / "training/labels/m.png", (values // 256).astype(np.uint8))
    save(root / "training/instances/m.png", values.astype(np.uint16))
    labels = [
        dict(name=name, readable=name.title(), color=[0, 0, n], instances=name in ("car", "sky"))
        for n, name in enumerate(("sky", "car", "road"))
    ]
    (root / "config.json").write_text(json.dumps(dict(labels=labels)))
    found = masks_of(convert(root, tmp_path / "coco"), tmp_path)
    expected = [("Sky", False, values == 0), ("Car", False, values == 257)]
    check(found, [*expected, ("Car", False, values == 258)])


def test_components_are_made_on_request_alone(tmp_path):
    root = tmp_path / "plain"
    labels = blocks((1, 2, 2, 9, 5), (1, 20, 2, 4, 4), (1, 24, 6, 3, 3), (2, 5, 20, 9, 5))
    for split in ("train", "val"):
        save_image(root / f"images/{split}/a.jpg")
        save(root / f"labels/{split}/a.png", labels.astype(np.uint8))
    (root / "classes.txt").write_text("background\ncat\ndog\n")
    output = run("convert_data", root, tmp_path / "no", "--to", "coco", code=2)
    assert "tell no objects apart" in output and "--components" in output
    found = masks_of(convert(root, tmp_path / "coco", "--components"), tmp_path)
    left, right = labels == 1, labels == 1
    left[:, 15:], right[:, :15] = False, False  # two that touch by a corner are one
    check(found, [("cat", False, left), ("cat", False, right), ("dog", False, labels == 2)])


def test_panoptic_segments(tmp_path):
    ids = blocks((70000, 2, 2, 9, 5), (300, 20, 2, 4, 4), (5, 0, 20, 40, 9))
    colours = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=2).astype(np.uint8)
    image, label = save_image(tmp_path / "a.jpg"), save(tmp_path / "a.png", colours)
    segments = [dict(id=70000, category_id=1, iscrowd=0), dict(id=300, category_id=2, iscrowd=1),
                dict(id=5, category_id=9, iscrowd=0)]  # fmt: skip
    things = {1: "cat", 2: "dog"}
    content = labels_to_coco(
        [(image, label)], ("cat", "dog"), lambda path: panoptic_objects(path, segments, things)
    )
    check(masks_of(content, tmp_path), [("cat", False, ids == 70000), ("dog", True, ids == 300)])
    with pytest.raises(UserError, match="no pixel of the segment 6"):
        list(panoptic_objects(label, [dict(id=6, category_id=1)], things))


def test_another_size_is_refused(tmp_path):
    image = save_image(tmp_path / "a.jpg")
    objects = [LabelObject("cat", np.ones((3, 4), bool))]
    with pytest.raises(UserError, match="label.png has 4 x 3 pixels but .*a.jpg has 40 x 30"):
        labels_to_coco([(image, tmp_path / "label.png")], ("cat",), lambda _: objects)


def test_areas_of_components_are_those_of_their_class(tmp_path):
    labels = np.random.default_rng(0).integers(0, 3, (HEIGHT, WIDTH)).astype(np.uint8)
    found = list(components(save(tmp_path / "l.png", labels), {1: "cat", 2: "dog"}))
    for label, name in ((1, "cat"), (2, "dog")):
        union = sum(one.mask.astype(int) for one in found if one.name == name)
        np.testing.assert_array_equal(union, labels == label)
