"""Every pair of formats, there and back, and the command that does it."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convnext_dense.cli.main import parse_tool
from convnext_dense.data.formats.geometry import encode_mask, segmentation_mask
from convnext_dense.data.formats.reading import own_splits, read
from convnext_dense.data.formats.writers.rings import join_rings, mask_rings
from convnext_dense.data.formats.writing import write
from convnext_dense.errors import UserError
from tests.formats.drawn import CLASSES, SIZES, boxes, content, write_image

FORMATS = ("coco", "yolo", "voc")
REAL = Path(__file__).parents[2] / "../shared/data/coco"


def masks(found: dict) -> list[np.ndarray]:
    sizes = {image["id"]: (image["width"], image["height"]) for image in found["images"]}
    return [
        segmentation_mask(one["segmentation"], sizes[one["image_id"]])
        for one in found["annotations"]
    ]


def by_box(found: dict) -> list[tuple]:
    """Boxes with their masks, in an order that formats do not change."""
    pairs = zip(boxes(found), masks(found), strict=True)
    return sorted(pairs, key=lambda pair: (*pair[0][:2], np.round(pair[0][2], 3).tolist()))


def compare(found: dict, expected: dict, tolerance: float = 1e-6) -> None:
    """Tolerance in pixels."""
    assert [c["name"] for c in found["categories"]] == list(CLASSES)
    mine, theirs = sorted(boxes(found), key=str), sorted(boxes(expected), key=str)
    assert [one[:2] for one in mine] == [one[:2] for one in theirs]
    np.testing.assert_allclose(
        [one[2] for one in mine], [one[2] for one in theirs], atol=tolerance, rtol=0
    )
    names = [sorted(Path(i["file_name"]).name for i in c["images"]) for c in (found, expected)]
    assert names[0] == names[1]


def convert(path: Path, target: Path, to: str) -> dict[str, dict]:
    contents = {split: read(path, split).content for split in own_splits(path)}
    write(contents, target, to)
    return {split: read(target, split).content for split in own_splits(target)}


@pytest.mark.parametrize("kind", ["boxes", "polygons", "masks"])
@pytest.mark.parametrize("second", FORMATS)
@pytest.mark.parametrize("first", FORMATS)
def test_there_and_back(tmp_path, first, second, kind):
    drawn = {s: content(tmp_path / "src", kind, i) for i, s in enumerate(("train", "val"))}
    write(drawn, tmp_path / "first", first)
    there = convert(tmp_path / "first", tmp_path / "second", second)
    back = convert(tmp_path / "second", tmp_path / "third", "coco")
    assert list(there) == list(back) == ["train", "val"]
    for split, expected in drawn.items():
        for found in (there[split], back[split]):
            # VOC keeps a polygon's pixels, and YOLO has the box of what it is given.
            by_pixels = kind == "polygons" and (first, second) == ("voc", "yolo")
            compare(found, expected, 2 if by_pixels else 1e-6)
            if kind == "masks":  # drawn apart, so that no format loses a pixel
                for mine, theirs in zip(masks(found), masks(expected), strict=True):
                    np.testing.assert_array_equal(mine, theirs)
            if kind == "polygons" and "voc" not in (first, second):
                assert [a["segmentation"] for a in found["annotations"]] == [
                    [pytest.approx(part, abs=1e-6) for part in a["segmentation"]]
                    for a in expected["annotations"]
                ]


@pytest.mark.parametrize("first", FORMATS)
def test_label_images(tmp_path, first):
    drawn = content(tmp_path / "src", "masks")
    write({"train": drawn}, tmp_path / "first", first)
    write({"train": read(tmp_path / "first", "train").content}, tmp_path / "labels", "labels")
    assert (tmp_path / "labels/classes.txt").read_text().split("\n")[:2] == ["background", "cat"]
    stems = {image["id"]: Path(image["file_name"]).stem for image in drawn["images"]}
    expected = {stems[i["id"]]: np.zeros((i["height"], i["width"])) for i in drawn["images"]}
    for annotation, mask in zip(drawn["annotations"], masks(drawn), strict=True):
        expected[stems[annotation["image_id"]]][mask > 0] = annotation["category_id"]
    for stem, pixels in expected.items():
        found = np.asarray(Image.open(tmp_path / f"labels/labels/train/{stem}.png"))
        np.testing.assert_array_equal(found, pixels)


def test_small_objects_lie_over_large_ones_and_crowds_below(tmp_path):
    drawn = content(tmp_path / "src", "masks")
    width, height = drawn["images"][1]["width"], drawn["images"][1]["height"]
    one = drawn["annotations"][0]
    full, small = np.ones((height, width), bool), np.zeros((height, width), bool)
    small[:5, :5] = True
    drawn["annotations"] = [
        {**one, "id": number, "category_id": category, "segmentation": encode_mask(mask),
         "iscrowd": crowd}
        for number, (category, mask, crowd) in enumerate([(1, small, 1), (2, full, 0)], start=1)
    ]  # fmt: skip
    write({"train": drawn}, tmp_path / "labels", "labels")
    found = np.asarray(Image.open(tmp_path / "labels/labels/train/0_2.png"))
    assert set(np.unique(found)) == {2}
    drawn["annotations"][0]["iscrowd"] = 0
    said = write({"train": drawn}, tmp_path / "voc", "voc")
    assert "1 masks lose pixels to smaller ones" in "".join(said)
    areas = [a["area"] for a in read(tmp_path / "voc", "train").content["annotations"]]
    assert areas == [25, width * height - 25]


def test_what_a_format_cannot_hold_is_said(tmp_path):
    drawn = content(tmp_path / "src", "masks")
    drawn["annotations"][0]["iscrowd"] = 1
    del drawn["annotations"][1]["segmentation"]
    said = "".join(write({"train": drawn}, tmp_path / "yolo", "yolo"))
    for words in (
        "1 crowds are left out",
        "1 objects without a mask",
        "1 objects of several parts",
    ):
        assert words in said
    assert len(read(tmp_path / "yolo", "train").content["annotations"]) == 2
    with pytest.raises(UserError, match="1 of 3 objects have a box and no mask"):
        write({"train": drawn}, tmp_path / "labels", "labels")
    assert not (tmp_path / "labels").exists() and not list(tmp_path.glob(".*"))


def test_images_of_one_name_stay_apart(tmp_path):
    drawn = {s: content(tmp_path / s / "images", "boxes") for s in ("train", "val")}
    drawn["train"]["images"][1]["file_name"] = str(write_image(tmp_path / "b/0_1.jpg", SIZES[1]))
    for target in FORMATS:
        write(drawn, tmp_path / target, target)
        found = {split: read(tmp_path / target, split).content for split in drawn}
        names = {s: {Path(i["file_name"]).name for i in c["images"]} for s, c in found.items()}
        renamed = {"train_images_0_1.png", "train_b_0_1.jpg"}
        apart = target == "voc"
        assert names["train"] == renamed | {"train_images_0_3.png" if apart else "0_3.png"}
        kept = {"0_1.png", "0_2.png", "0_3.png"}
        if apart:
            kept = {"val_images_0_1.png", "0_2.png", "val_images_0_3.png"}
        assert names["val"] == kept


@pytest.mark.parametrize("seed", range(20))
def test_one_polygon_covers_the_pixels_of_any_mask(seed):
    mask = np.random.default_rng(seed).random((24, 17)) < 0.1 + 0.04 * seed
    polygon = join_rings(mask_rings(mask)).ravel().tolist()
    np.testing.assert_array_equal(segmentation_mask([polygon], (17, 24)), mask)


def run(*words):
    command, args = parse_tool("convert_data", [str(word) for word in words])
    command.run(args)


def test_the_command(tmp_path, capsys):
    drawn = {s: content(tmp_path / "src", "boxes", i) for i, s in enumerate(("train", "val"))}
    write(drawn, tmp_path / "coco", "coco")
    run(tmp_path / "coco", tmp_path / "yolo", "--to", "yolo")
    printed = capsys.readouterr().out
    rows = [line.split() for line in printed.splitlines()]
    assert ["train", "3", "3", "0", "4", "2"] in rows
    image = tmp_path / "yolo/images/val/1_1.png"
    assert os.stat(image).st_nlink > 1
    run(tmp_path / "coco", tmp_path / "copied", "--to", "yolo", "--from", "coco", "--copy")
    assert os.stat(tmp_path / "copied/images/val/1_1.png").st_nlink == 1
    with pytest.raises(UserError, match="is there already"):
        run(tmp_path / "coco", tmp_path / "yolo", "--to", "voc")
    single = tmp_path / "coco/annotations/instances_val.json"
    run(single, tmp_path / "single", "--to", "voc", "--split-name", "val")
    assert own_splits(tmp_path / "single") == ("val",)


def test_the_command_says_what_is_there_twice(tmp_path, capsys):
    image = write_image(tmp_path / "yolo/images/a.png")
    (tmp_path / "yolo/classes.txt").write_text("dog")
    image.with_suffix(".txt").write_text("0 .5 .5 .2 .4\n" * 3)
    run(tmp_path / "yolo", tmp_path / "coco", "--to", "coco")
    for source in ("yolo", "coco"):
        if source == "coco":
            run(tmp_path / "coco", tmp_path / "voc", "--to", "voc")
        said = f"{source} (train): 2 of 3 annotations have the image, the class and the box of an"
        assert said in capsys.readouterr().out


def test_the_command_checks_a_coco_file(tmp_path):
    write({"train": content(tmp_path / "src", "boxes")}, tmp_path / "coco", "coco")
    path = tmp_path / "coco/annotations/instances_train.json"
    found = json.loads(path.read_text())
    found["annotations"][0]["image_id"] = 99
    path.write_text(json.dumps(found))
    with pytest.raises(UserError, match="an image_id that no image has"):
        run(path, tmp_path / "yolo", "--to", "yolo")
    assert not (tmp_path / "yolo").exists()


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no COCO images in {REAL}")
@pytest.mark.parametrize("to", ["yolo", "voc"])
def test_real_images_there_and_back(tmp_path, to):
    expected = read(REAL, "val").content
    expected["images"] = expected["images"][:30]
    kept = {image["id"] for image in expected["images"]}
    expected["annotations"] = [a for a in expected["annotations"] if a["image_id"] in kept]
    write({"val": expected}, tmp_path / "out", to)
    found = read(tmp_path / "out", "val").content
    if to == "yolo":
        expected["annotations"] = [a for a in expected["annotations"] if not a["iscrowd"]]
    for (one, mask), (other, truth) in zip(by_box(found), by_box(expected), strict=True):
        assert one[:2] == other[:2]
        np.testing.assert_allclose(one[2], other[2], atol=1e-6, rtol=0)
        np.testing.assert_array_equal(mask, truth)
