"""COCO files: what is refused with one sentence, what is said, and what passes."""

import json

import numpy as np
import pycocotools.mask
import pytest

from convnext_dense.data.coco import findings
from convnext_dense.data.coco.annotation_file import check_trainable, count_instances, read_summary
from convnext_dense.data.coco.check_masks import _pixels
from convnext_dense.errors import UserError

NAN, INF = float("nan"), float("inf")


def coco(instances: int = 3) -> dict:
    """Two images of 40 x 30, and boxes of 4 x 5 with the polygons of them."""
    return dict(
        images=[dict(id=i, file_name=f"{i}.jpg", width=40, height=30) for i in (1, 2)],
        categories=[dict(id=7, name="cat"), dict(id=3, name="dog")],
        annotations=[
            dict(
                id=n,
                image_id=1 + n % 2,
                category_id=(7, 3)[n % 2],
                bbox=[1.0 + n / 1e4, 2.0, 4.0, 5.0],
                area=20,
                iscrowd=0,
                segmentation=[[1, 2, 5, 2, 5, 7, 1, 7]],
            )
            for n in range(1, instances + 1)
        ],
    )


def read(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    return read_summary(str(path))


def test_a_sound_file(tmp_path):
    summary = read(tmp_path, coco())
    assert (summary.classes, summary.has_masks, summary.notes) == (("cat", "dog"), True, ())
    assert summary.file_names == ("1.jpg", "2.jpg") and summary.sizes == ((40, 30), (40, 30))
    assert count_instances(summary, ("dog", "cat")) == {"dog": 2, "cat": 1}
    assert count_instances(summary, ("dog",), min_size=31) == {"dog": 0}


ODD_BOXES = [None, "1,2,3,4", [1, 2, 3], [1, 2, 3, 4, 5], [1, 2, None, 4], [1, 2, "3", 4], 5]
ODD_BOXES += [[1, 2, NAN, 4], [1, 2, INF, 4], [1, 2, 3, 1e300], [[1], 2, 3, 4], {}]
ODD_MASKS = [
    ("[[1, 2]]", "neither a list of polygons nor"),
    ([1, 2, 5, 2, 5, 7], "no list of polygons"),
    ([[1, 2, 5, 2, 5, 7, 1]], "no list of polygons"),
    ([[1, 2, 5, NAN, 5, 7]], "no list of polygons"),
    ([[1, 2, 5, "2", 5, 7]], "no list of polygons"),
    ([[1, 2, 5, 2]], "no polygon of three points"),
    ([[1, 2, 1e9, 2, 5, 7]], "a polygon that goes farther over the edge"),
    ([[1, 2, 5, 2, 5, 81]], "a polygon that goes farther over the edge"),
    ([[1, 2, 5, 2, 5, 7], [-41, 2, 5, 2, 5, 7]], "a polygon that goes farther over the edge"),
    ({"size": [30, 40]}, "an RLE without size"),
    ({"size": [40, 30], "counts": [1200]}, "an RLE of another size"),
    ({"size": [30, 40], "counts": [100, 100]}, "counts are damaged"),
    ({"size": [30, 40], "counts": "PPPP"}, "counts are damaged"),
    ({"size": [30, 40], "counts": None}, "an RLE without size"),
]


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        *[("annotations", {"bbox": box}, "no box of x, y, width, height") for box in ODD_BOXES],
        *[("annotations", {"segmentation": mask}, what) for mask, what in ODD_MASKS],
        ("annotations", {"bbox": [5, 5, -3, 3]}, "negative width or height"),
        ("annotations", {"bbox": [5, 5, 0, 3]}, "without area"),
        ("annotations", {"area": 0}, "without area"),
        ("annotations", {"bbox": [41, 5, 3, 3]}, "outside of its image"),
        ("annotations", {"bbox": [-9, 5, 10, 3]}, "outside of its image"),
        ("annotations", {"bbox": [0, 0, 400, 300]}, "outside of its image"),
        ("annotations", {"area": None}, "an area that is no finite number"),
        ("annotations", {"area": -4}, "an area that is no finite number"),
        ("annotations", {"area": NAN}, "an area that is no finite number"),
        ("annotations", {"iscrowd": "0"}, "an iscrowd that is neither 0 nor 1"),
        ("annotations", {"id": "1"}, "an id that is no whole number"),
        ("annotations", {"id": 2}, "a doubled id"),
        ("annotations", {"image_id": [1]}, "an image_id that is no whole number"),
        ("annotations", {"image_id": 9}, "an image_id that no image has"),
        ("annotations", {"category_id": 1}, "a category_id of no category"),
        ("images", {"id": 2**70}, "an id that is no whole number"),
        ("images", {"id": 2}, "a doubled id"),
        ("images", {"file_name": 12}, "a file_name that is no text"),
        ("images", {"height": 0}, "a height that is no whole number above 0"),
        ("images", {"width": "40"}, "a width that is no whole number above 0"),
        ("images", {"width": -40}, "a width that is no whole number above 0"),
        ("categories", {"name": 5}, "a name that is no text"),
        ("categories", {"id": 3}, "a doubled id"),
    ],
)
def test_one_odd_entry_is_refused(tmp_path, kind, change, message):
    content = coco()
    content[kind][0].update(change)
    with pytest.raises(UserError, match=rf"a.json: \d of \d {kind} have .*{message}") as caught:
        read(tmp_path, content)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize("kind", ["images", "annotations", "categories"])
@pytest.mark.parametrize("entry", [None, "text", [1], 3])
def test_an_entry_without_fields(tmp_path, kind, entry):
    content = coco()
    content[kind].append(entry)
    with pytest.raises(UserError, match=f"1 of . {kind} have no fields in braces"):
        read(tmp_path, content)
    content[kind] = entry
    with pytest.raises(UserError, match=f"a.json .*{kind}" if entry != [1] else "fields"):
        read(tmp_path, content)


@pytest.mark.parametrize(
    "key", ["images.id", "images.width", "categories.name", "annotations.bbox", "annotations.area"]
)
def test_a_missing_key(tmp_path, key):
    content, (kind, key) = coco(), key.split(".")
    del content[kind][-1][key]
    with pytest.raises(UserError, match=f"1 of . {kind} have no '{key}'"):
        read(tmp_path, content)


@pytest.mark.parametrize("text", ["", '{"images": [', "[" * 100_000, "\xff", "1" * 5000, "null"])
def test_what_is_no_coco_json(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text, encoding="latin1")
    with pytest.raises(UserError, match="a.json is (not (complete|a COCO|UTF-8)|no JSON)"):
        read_summary(str(path))


def test_a_few_of_very_many_are_said_and_not_refused(tmp_path, monkeypatch):
    """COCO's train2017 has two boxes without height, and many a pixel over the edge."""
    content = coco(2000)
    content["annotations"][5]["bbox"][3] = 0
    with pytest.raises(UserError, match="1 of 2000 annotations have a box or mask without area"):
        read(tmp_path, content)
    monkeypatch.setattr(findings, "TOLERATED", 1 / 1000)  # as if they were 100 times as many
    content["annotations"][6]["bbox"] = [38, 2, 0.5, 4]
    content["annotations"][7]["bbox"] = [30, 20, 13, 10]
    content["annotations"][8]["bbox"] = [36, 26, 4.9, 4.9]
    summary = read(tmp_path, content)
    first, second, third = summary.notes
    assert "1 of 2000 annotations have a box or mask without area" in first
    assert "1 of 2000 annotations have a box of less than a pixel" in second
    assert "1 of 2000 annotations have a box that reaches over the edge (first id: 8)" in third
    assert sum(count_instances(summary, ("cat", "dog")).values()) == 1998
    for annotation in content["annotations"][:3]:
        annotation["bbox"][2] = 0
    with pytest.raises(UserError, match="4 of 2000 annotations have a box or mask without area"):
        read(tmp_path, content)


def test_corners_instead_of_extents(tmp_path):
    content = coco(20)
    for n, annotation in enumerate(content["annotations"]):
        annotation["bbox"] = [10 + n / 2, 12, 20 + n, 29]
    with pytest.raises(UserError, match="all boxes look like two corners .a box is x, y, width"):
        read(tmp_path, content)


def test_masks_of_every_form_pass(tmp_path):
    content, mask = coco(), np.zeros((30, 40), np.uint8, order="F")
    mask[2:7, 1:5] = 1
    coded = pycocotools.mask.encode(mask)
    runs = np.flatnonzero(np.diff(mask.ravel(order="F"), prepend=0, append=0))
    runs = [int(run) for run in np.diff([0, *runs, mask.size])]
    content["annotations"][0]["segmentation"] = dict(size=[30, 40], counts=coded["counts"].decode())
    content["annotations"][1]["segmentation"] = dict(size=[30, 40], counts=runs)
    content["annotations"][2]["segmentation"].append([1, 2])
    assert read(tmp_path, content).has_masks


def test_pixels_of_rle_are_pycocotools():
    draw = np.random.default_rng(0)
    for _ in range(50):
        height, width = draw.integers(1, 90, 2)
        mask = np.asfortranarray(draw.random((height, width)) < draw.random()).astype(np.uint8)
        counts = pycocotools.mask.encode(mask)["counts"].decode()
        assert _pixels(counts) == height * width
        assert _pixels(counts[:-1]) != height * width


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"iscrowd": 1}, "3 crowds"),
        ({"bbox": [1, 2, 0.5, 5]}, "3 without area, below a pixel"),
        ({"ignore": 1}, "3 without area, .* or marked ignore"),
    ],
)
def test_nothing_left_to_train_on(tmp_path, change, reason):
    content = coco()
    for annotation in content["annotations"]:
        annotation.update(change)
    summary = read(tmp_path, content)
    with pytest.raises(UserError, match=f"leaves no instance .* {reason}"):
        check_trainable(summary, summary.classes)


def test_nothing_left_by_class_and_size(tmp_path):
    summary = read(tmp_path, coco())
    check_trainable(summary, summary.classes, min_size=30)
    with pytest.raises(UserError, match=r"3 in images below 31 pixels \(filter_cfg.min_size\)"):
        check_trainable(summary, summary.classes, min_size=31)
    content = coco()
    content["annotations"] = content["annotations"][:1]
    with pytest.raises(UserError, match="1 of other classes"):
        check_trainable(read(tmp_path, content), ("cat",))
