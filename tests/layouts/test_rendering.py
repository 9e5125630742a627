"""A detector's annotations drawn into label images, and label images turned into annotations."""

import json

import numpy as np
import pytest
from pycocotools import mask as mask_api
from pycocotools.coco import COCO

from convnext_dense.errors import UserError
from tests.layouts.drawn import SIZE, classes_of, load, loaded, save_image


def square(x, y, size) -> list:
    return [[x, y, x + size, y, x + size, y + size, x, y + size]]


def write_coco(path, annotations, images=("a.jpg", "b.png")) -> None:
    """A COCO file beside ``images/``; annotations: image, category, segmentation, crowd."""
    entries = []
    for number, name in enumerate(images, start=1):
        save_image(path.parent / "images" / name)
        entries.append(dict(id=number, file_name=name, width=SIZE[0], height=SIZE[1]))
    listed = []
    for number, (image, category, segmentation, crowd) in enumerate(annotations, start=1):
        rle = segmentation
        if isinstance(segmentation, list) and segmentation:
            rle = mask_api.merge(mask_api.frPyObjects(segmentation, SIZE[1], SIZE[0]))
        box = [1.0, 1, 5, 5] if not segmentation else mask_api.toBbox(rle).tolist()
        area = 25.0 if not segmentation else float(mask_api.area(rle))
        listed.append(
            dict(id=number, image_id=image, category_id=category, segmentation=segmentation,
                 iscrowd=crowd, bbox=box, area=area)
        )  # fmt: skip
    categories = [dict(id=7, name="car"), dict(id=3, name="person")]
    path.write_text(json.dumps(dict(images=entries, annotations=listed, categories=categories)))


def crowd(x, y, size) -> dict:
    mask = np.zeros(SIZE[::-1], np.uint8, order="F")
    mask[y : y + size, x : x + size] = 1
    rle = mask_api.encode(mask)
    return dict(size=rle["size"], counts=rle["counts"].decode())


OBJECTS = [
    (1, 3, square(8, 8, 6), 0),  # a small person before a large car that covers it
    (1, 7, square(4, 4, 20), 0),
    (1, 7, crowd(0, 0, 12), 1),
    (2, 3, square(1.5, 2.5, 10) + square(20, 20, 5), 0),
]


def expected_of(path) -> dict[str, np.ndarray]:
    """Drawn with pycocotools alone: crowds, then the large before the small."""
    coco = COCO(str(path))
    labels = {7: 1, 3: 2}
    drawn = {}
    for image in coco.imgs.values():
        canvas = np.zeros(SIZE[::-1], np.uint8)
        found = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        for one in sorted(found, key=lambda a: (1 - a["iscrowd"], -a["area"])):
            value = 255 if one["iscrowd"] else labels[one["category_id"]]
            canvas[coco.annToMask(one) == 1] = value
        drawn[image["file_name"]] = canvas
    return drawn


@pytest.fixture
def annotated(tmp_path):
    write_coco(tmp_path / "train.json", OBJECTS)
    write_coco(tmp_path / "val.json", OBJECTS[:2])
    return ["--train-data", tmp_path / "train.json", "--val-data", tmp_path / "val.json",
            "--images", tmp_path / "images"]  # fmt: skip


def test_objects_become_labels(annotated, tmp_path):
    cfg = load(tmp_path / "w", *annotated)
    assert classes_of(cfg) == classes_of(cfg, "val") == ("background", "car", "person")
    for split in ("train", "val"):
        found, expected = loaded(cfg, split), expected_of(tmp_path / f"{split}.json")
        assert found.keys() == expected.keys()
        for name, labels in expected.items():
            np.testing.assert_array_equal(found[name], labels)
    assert set(np.unique(loaded(cfg)["a.jpg"])) == {0, 1, 2, 255}
    assert (tmp_path / "w/labels/classes.txt").read_text() == "background\ncar\nperson\n"


def test_labels_are_drawn_once(annotated, tmp_path):
    load(tmp_path / "w", *annotated)
    path = tmp_path / "w/labels/train/a.jpg.png"
    before = path.stat().st_mtime_ns
    load(tmp_path / "w", *annotated, resume=True)
    assert path.stat().st_mtime_ns == before
    write_coco(tmp_path / "train.json", OBJECTS[:1])
    cfg = load(tmp_path / "w", *annotated)
    assert set(np.unique(loaded(cfg)["a.jpg"])) == {0, 2}  # car 1, person 2


def test_a_share_of_the_annotated_images(tmp_path):
    names = [f"{n}.jpg" for n in range(10)]
    objects = [(n + 1, (7, 3)[n % 2], square(2 * n, 3, 5), 0) for n in range(10)]
    write_coco(tmp_path / "all.json", objects, names)
    flags = ["--train-data", tmp_path / "all.json", "--images", tmp_path / "images"]
    cfg = load(tmp_path / "w", *flags, "--split", 0.2)
    train, val = loaded(cfg), loaded(cfg, "val")
    assert (len(train), len(val)) == (8, 2) and train.keys() | val.keys() == set(names)
    assert {int(labels.max()) for labels in val.values()} == {1, 2}  # both classes


def test_boxes_and_categories_of_validation_alone_are_refused(annotated, tmp_path):
    write_coco(tmp_path / "train.json", [(1, 7, [], 0)])
    with pytest.raises(UserError, match=r"1 of 1 annotations of .*have no mask .*train a detector"):
        load(tmp_path / "w", *annotated)


def test_flags_of_label_images_do_not_fit_annotations(annotated, tmp_path):
    (tmp_path / "names.txt").write_text("a\nb\n")
    with pytest.raises(UserError, match="--classes belongs to segmentation"):
        load(tmp_path / "w", *annotated, "--classes", tmp_path / "names.txt")
