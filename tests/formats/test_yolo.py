"""YOLO: values by hand, and the forms in which users have it."""

import numpy as np
import pytest

from convnext_dense.data.formats.reading import NoSplit, own_splits, read, recognise
from convnext_dense.errors import UserError
from tests.formats.drawn import write_image

NAMES = "names: [cat, dog]\n"


def dataset(root, rows="0 0.5 0.5 0.2 0.4\n", yaml="train: train/images\nval: valid/images\n"):
    """Roboflow's layout of one image a split, of 100 x 50 pixels."""
    for split in ("train", "valid"):
        write_image(root / split / "images/a.png")
        (root / split / "labels").mkdir()
        (root / split / "labels/a.txt").write_text(rows)
    (root / "data.yaml").write_text(yaml + NAMES)
    return root


def annotations(path, split="train", **kwargs):
    return read(path, split, **kwargs).content["annotations"]


def test_boxes_and_polygons_in_pixels(tmp_path):
    rows = "\n1 0.123456789 0.5 0.2 0.4\n\n0 0.1 0.2 0.3 0.2 0.3 0.6\n"
    found = read(dataset(tmp_path, rows), "train")
    assert found.format == "yolo" and found.own_splits == ("train", "val")
    box, polygon = found.content["annotations"]
    np.testing.assert_allclose(box["bbox"], [2.3456789, 15, 20, 20], atol=1e-9)
    assert "segmentation" not in box and box["area"] == pytest.approx(400)
    np.testing.assert_allclose(polygon["segmentation"], [[10, 10, 30, 10, 30, 30]], atol=1e-9)
    np.testing.assert_allclose(polygon["bbox"], [10, 10, 20, 20], atol=1e-9)
    assert polygon["area"] == pytest.approx(190)
    assert [c["name"] for c in found.content["categories"]] == ["cat", "dog"]
    assert box["category_id"] == 2 and polygon["category_id"] == 1
    assert "1 rows are boxes among polygons" in "".join(found.remarks)


def test_a_turned_image_has_the_size_that_is_shown(tmp_path):
    dataset(tmp_path)
    write_image(tmp_path / "train/images/a.png", turned=True)
    (image,) = read(tmp_path, "train").content["images"]
    assert (image["width"], image["height"]) == (50, 100)
    np.testing.assert_allclose(annotations(tmp_path)[0]["bbox"], [20, 30, 10, 40])


@pytest.mark.parametrize(
    "yaml",
    [
        "train: ../train/images\nval: ../valid/images\n",  # Roboflow's, one folder too high
        "path: datasets/mine\ntrain: train/images\nval: valid/images\n",
        "path: C:\\data\\mine\ntrain: train\\images\nval: valid\\images\n",
        "train: /content/mine/train/images\nval: /content/mine/valid/images\n",
        "path: .\ntrain: [train/images]\nval: list.txt\n",
        "",  # the layout alone
    ],
)
def test_paths_of_another_machine(tmp_path, yaml):
    dataset(tmp_path, yaml=yaml)
    (tmp_path / "list.txt").write_text("/home/me/mine/valid/images/a.png\n")
    for path in (tmp_path, tmp_path / "data.yaml"):
        assert own_splits(path) == ("train", "val")
        for split, folder in (("train", "train"), ("val", "valid")):
            (image,) = read(path, split).content["images"]
            assert f"/{folder}/images/a.png" in image["file_name"]


def test_a_folder_of_a_split_finds_the_names_above(tmp_path):
    dataset(tmp_path, rows="1 0.5 0.5 0.2 0.4\n")
    for folder in ("valid", "valid/images"):
        assert annotations(tmp_path / folder, "val")[0]["category_id"] == 2


def test_names_in_every_form(tmp_path):
    dataset(tmp_path)
    for text in ("names: {0: cat, 1: dog}", "names:\n  '0': cat\n  '1': dog\nnc: 2"):
        (tmp_path / "data.yaml").write_text(f"train: train/images\n{text}\n")
        categories = read(tmp_path, "train").content["categories"]
        assert [category["name"] for category in categories] == ["cat", "dog"]
    for text, said in (
        ("names: [yes, no]", "quotes"),
        ("names: [cat]\nnc: 2", "nc: 2"),
        ("names: {0: cat, 2: dog}", "all of 0 to 1"),
        ("names: [cat, cat]", "twice"),
        ("names: [cat", "cannot be read as YAML"),
    ):
        (tmp_path / "data.yaml").write_text(f"train: train/images\n{text}\n")
        with pytest.raises(UserError, match=said):
            read(tmp_path, "train")


def test_darknet_and_class_lists(tmp_path):
    write_image(tmp_path / "obj_train_data/a.png")
    (tmp_path / "obj_train_data/a.txt").write_text("1 0.5 0.5 0.2 0.4")
    (tmp_path / "train.txt").write_text("data/obj_train_data/a.png\n")
    (tmp_path / "obj.names").write_text("cat\ndog\n")
    (tmp_path / "obj.data").write_text(
        "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n"
    )
    assert recognise(tmp_path) == "yolo" and own_splits(tmp_path) == ("train",)
    assert annotations(tmp_path)[0]["category_id"] == 2
    (tmp_path / "obj.data").unlink()
    (tmp_path / "obj.names").rename(tmp_path / "classes.txt")
    found = read(tmp_path, "val")  # no splits: all of it
    assert found.own_splits == () and len(found.content["annotations"]) == 1
    assert len(annotations(tmp_path / "train.txt")) == 1


def test_images_without_labels_and_labels_without_images(tmp_path):
    dataset(tmp_path)
    write_image(tmp_path / "train/images/b.png")
    (tmp_path / "train/labels/lost.txt").write_text("0 .5 .5 .1 .1")
    found = read(tmp_path, "train")
    assert len(found.content["images"]) == 2 and len(found.content["annotations"]) == 1
    said = "".join(found.remarks)
    assert "1 images without a label file" in said and "lost.txt" in said
    (tmp_path / "valid/labels/a.txt").unlink()
    with pytest.raises(UserError, match="none of 1 images has a label file: looked for .*labels"):
        read(tmp_path, "val")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("0 .5 .5 .1 .1\n7 .5 .5 .1 .1", "a.txt:2 has the class index 7, but there are 2"),
        (
            "0 50 25 10 10\n0 1 25 10 10",
            r"all rows \(2\) look as if in pixels .*:1, has 50 25",
        ),
        ("0 50 25 10 10\n0 .5 .5 .1 .1", "a.txt:1 reaches 5400.0 pixels over"),
        (
            "0 .2 .2 .6 .6\n1 .7 .2 .8 .4",
            r"all rows \(2\) look like two corners .*0.2 0.2 0.6 0.6",
        ),
        ("0 .5 .5 .9 .9\n1 .9 .2 .8 .4", "a.txt:2 reaches 30.0 pixels over"),
        ("0 .5 .5 .1 .1 .9", "6 columns: a box with a confidence"),
        ("0 .5 .5 .1 .1 .9 .1 .2", "8 columns: a polygon"),
        ("0 .5 .5 .1", "4 columns"),
        ("cat .5 .5 .1 .1", "no row of numbers"),
        ("0.5 .5 .5 .1 .1", "no class index"),
        ("-1 .5 .5 .1 .1", "no class index"),
        ("0 nan .5 .1 .1", "no finite number"),
        ("0 .5 .5 -.1 .1", "negative width"),
        ("0 .5 .5 1.03 .1", "reaches 1.5 pixels over"),
        ("0 .5 .5 .2 .4 .1 .2 2 .3 .4 0", "keypoints"),
        ("0 .1 .1 .3 .1 .3 .3 .1 .3", "oriented boxes.*--data-format yolo"),
    ],
)
def test_refused_rows(tmp_path, rows, said):
    with pytest.raises(UserError, match=said):
        read(dataset(tmp_path, rows), "train")


def test_class_names_of_labelimg_lie_among_the_labels(tmp_path):
    for split, name in (("train", "a"), ("val", "b")):
        write_image(tmp_path / f"images/{split}/{name}.png")
        (tmp_path / "labels" / split).mkdir(parents=True)
        (tmp_path / f"labels/{split}/{name}.txt").write_text("1 .5 .5 .2 .4")
        (tmp_path / f"labels/{split}/classes.txt").write_text("cat\ndog\n")
    for path in (tmp_path, tmp_path / "images/train"):
        found = read(path, "train")
        assert found.format == "yolo" and len(found.content["annotations"]) == 1
        assert [c["name"] for c in found.content["categories"]] == ["cat", "dog"]
        assert not any("without an image" in line for line in found.remarks)
    (tmp_path / "labels/val/classes.txt").write_text("dog\ncat\n")
    with pytest.raises(UserError, match="have different class names"):
        read(tmp_path, "train")


def test_rounding_over_the_edge_is_cut(tmp_path):
    found = annotations(dataset(tmp_path, "0 .5 .5 1.01 1"))
    np.testing.assert_allclose(found[0]["bbox"], [0, 0, 100, 50])


def test_four_corners_are_polygons_where_the_format_is_named(tmp_path):
    dataset(tmp_path, "0 .1 .1 .3 .1 .3 .3 .1 .3")
    (found,) = annotations(tmp_path, data_format="yolo")
    np.testing.assert_allclose(found["bbox"], [10, 5, 20, 10])
    for task, said in (("task: obb", "oriented"), ("kpt_shape: [17, 3]", "keypoints")):
        (tmp_path / "data.yaml").write_text(f"train: train/images\n{task}\n{NAMES}")
        with pytest.raises(UserError, match=said):
            read(tmp_path, "train")


def test_a_split_that_is_not_there(tmp_path):
    dataset(tmp_path, yaml="train: train/images\nval:\n")
    with pytest.raises(NoSplit, match="no val split.*found train") as error:
        read(tmp_path, "val")
    assert error.value.own_splits == ("train",)
    dataset(tmp_path / "other", yaml="train: gone/images\nval: valid/images\n")
    with pytest.raises(UserError, match="train is gone/images, which is not there"):
        read(tmp_path / "other", "train")


def test_another_folder_of_the_name_images_is_not_taken(tmp_path):
    dataset(tmp_path, yaml="train: train/images\nval: /content/mine/validation/images\n")
    write_image(tmp_path / "images/a.png")
    with pytest.raises(UserError, match="which is not there"):
        read(tmp_path, "val")


def test_the_area_of_parts_and_holes_is_that_of_their_mask(tmp_path):
    ring = ".1 .1 .9 .1 .9 .9 .1 .9 .1 .1 .3 .3 .7 .3 .7 .7 .3 .7 .3 .3"
    (found,) = annotations(dataset(tmp_path, f"0 {ring}"))
    mask = np.zeros((50, 100))
    mask[5:45, 10:90] = 1
    mask[15:35, 30:70] = 0
    assert found["area"] == pytest.approx(mask.sum(), rel=0.05)  # lines without area are some
    tiny = "0 .101 .1 .103 .1 .103 .11"
    (found,) = annotations(dataset(tmp_path / "tiny", tiny))
    assert found["area"] == pytest.approx(0.2 * 0.5 / 2)
