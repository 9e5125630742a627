"""Pascal VOC: both kinds of pixels, splits, masks."""

import numpy as np
import pytest
from PIL import Image

from convnext_dense.data.formats.readers.voc_masks import voc_palette
from convnext_dense.data.formats.reading import NoSplit, read, recognise
from convnext_dense.errors import UserError
from tests.formats.drawn import write_image

OBJECT = (
    "<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{box[0]}</xmin>"
    "<ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"
)


def xml(*objects, database="Unknown", size=(100, 50), name="a.png"):
    entries = "".join(
        OBJECT.format(name=kind, box=box, difficult=int(kind == "hard")) for kind, *box in objects
    )
    return (
        f"<annotation><filename>{name}</filename><source><database>{database}</database></source>"
        f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
        f"{entries}</annotation>"
    )


def dataset(root, text, names=("a",)):
    for name in names:
        write_image(root / f"JPEGImages/{name}.png")
        (root / "Annotations").mkdir(exist_ok=True)
        (root / f"Annotations/{name}.xml").write_text(text)
    return root


def test_boxes_of_tools_and_of_voc_itself(tmp_path):
    box = ("dog", 11, 21, 30, "40.5")
    found = read(dataset(tmp_path / "tool", xml(box, ("cat", 0, 0, 1, 1))), "train")
    assert found.format == "voc"
    assert [a["bbox"] for a in found.content["annotations"]] == [[11, 21, 19, 19.5], [0, 0, 1, 1]]
    assert [c["name"] for c in found.content["categories"]] == ["cat", "dog"]
    assert "begins at 0" in "".join(found.remarks)
    found = read(dataset(tmp_path / "voc", xml(box, database="The VOC2007 Database")), "train")
    assert found.content["annotations"][0]["bbox"] == [10, 20, 20, 20.5]
    assert "first pixel is 1" in "".join(found.remarks)


def test_the_training_data_order_the_classes(tmp_path):
    dataset(tmp_path, xml(("b 10", 1, 1, 5, 5), ("b 2", 1, 1, 5, 5), ("new", 1, 1, 5, 5)))
    names = [c["name"] for c in read(tmp_path, "val").content["categories"]]
    assert names == ["b 2", "b 10", "new"]
    found = read(tmp_path, "val", classes=["z", "b 10", "b 2"]).content
    assert [c["name"] for c in found["categories"]] == ["z", "b 10", "b 2", "new"]
    assert [a["category_id"] for a in found["annotations"]] == [2, 3, 4]


def test_lists_of_splits(tmp_path):
    dataset(tmp_path, xml(("dog", 1, 1, 5, 5), name="lost"), names=("a", "b.c"))
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    (tmp_path / "ImageSets/Main/trainval.txt").write_text("a 1\n")
    (tmp_path / "ImageSets/Main/test.txt").write_text("b.c\n\n")
    assert read(tmp_path, "train").own_splits == ("train", "test")
    (image,) = read(tmp_path, "test").content["images"]
    assert image["file_name"].endswith("JPEGImages/b.c.png")
    with pytest.raises(NoSplit, match="looked for ImageSets/Main/val.txt, found train, test"):
        read(tmp_path, "val")


def test_folders_of_splits_and_no_size(tmp_path):
    for split in ("train", "valid"):
        write_image(tmp_path / split / "a.png")
        (tmp_path / split / "a.xml").write_text(xml(("hard", 1, 2, 5, 8), size=(0, 0)))
    assert recognise(tmp_path) == "voc"
    found = read(tmp_path, "val")
    assert found.own_splits == ("train", "val")
    assert found.content["annotations"][0]["iscrowd"] == 1
    said = "".join(found.remarks)
    assert "state no size" in said and "difficult objects are crowds" in said


def test_masks_are_the_pixels_of_each_object(tmp_path):
    dataset(tmp_path, xml(("dog", 1, 1, 9, 9), ("cat", 1, 1, 9, 9), ("rat", 1, 1, 9, 9)))
    (tmp_path / "SegmentationObject").mkdir()
    pixels = np.zeros((50, 100), np.uint8)
    pixels[5:8, 10:20], pixels[8, 10:20], pixels[20:22, 3] = 1, 255, 2
    for mode in ("P", "RGB"):
        file = Image.fromarray(pixels, "P")
        file.putpalette(voc_palette())
        file.convert(mode).save(tmp_path / "SegmentationObject/a.png")
        dog, cat, rat = read(tmp_path, "train").content["annotations"]
        assert (dog["area"], cat["area"]) == (30, 2) and dog["bbox"] == [1, 1, 8, 8]
        assert "segmentation" not in rat
    pixels[0, 0] = 4
    Image.fromarray(pixels).save(tmp_path / "SegmentationObject/a.png")
    with pytest.raises(UserError, match="holds the object 4, but its XML file has 3"):
        read(tmp_path, "train")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (xml(("dog", 9, 1, 5, 5)), "object 1 ends before it begins"),
        (xml(("dog", 1, 1, "x", 5)), "object 1: xmax is 'x', which is no number"),
        (xml(("", 1, 1, 5, 5)), "object 1 has no name"),
        (xml(("dog", 1, 1, 5, 5), size=(640, 480)), "made for 640 x 480"),
        (xml(("dog", 1, 1, 5, 5))[:-9], "no whole XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]>' + xml(), "entities"),
    ],
)
def test_refused_files(tmp_path, text, said):
    with pytest.raises(UserError, match=said):
        read(dataset(tmp_path, text), "train", data_format="voc")


def test_missing_images_are_named(tmp_path):
    dataset(tmp_path, xml(("dog", 1, 1, 5, 5), name="a.png"))
    (tmp_path / "JPEGImages/a.png").rename(tmp_path / "JPEGImages/other.png")
    with pytest.raises(UserError, match="1 of 1 images .*JPEGImages: a.png: .*--images"):
        read(tmp_path, "train")


def test_boxes_over_the_edge_and_oriented_ones_beside_them(tmp_path):
    with pytest.raises(UserError, match=r"a.xml: object 2 reaches 9.0 pixels over the edge"):
        read(dataset(tmp_path / "a", xml(("dog", 1, 2, 101, 50), ("dog", 1, 2, 109, 9))), "train")
    text = xml(("dog", 1, 2, 9, 9)).replace("</object>", "<robndbox><cx>5</cx></robndbox></object>")
    found = read(dataset(tmp_path / "b", text), "train")
    assert found.content["annotations"][0]["bbox"] == [1, 2, 8, 7]
    assert "1 objects have an oriented box (robndbox) too" in "".join(found.remarks)
