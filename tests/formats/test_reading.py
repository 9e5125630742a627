"""Recognising formats, COCO's layouts, sizes of images."""

import json

import pytest

from convnext_dense.data.formats.image_files import ImageIndex
from convnext_dense.data.formats.names import DETECTION_FORMATS
from convnext_dense.data.formats.reading import ORDER, read, recognise
from convnext_dense.data.image_size import image_size
from convnext_dense.data.images import read_image
from convnext_dense.errors import UserError
from tests.formats.drawn import content, write_image


def coco(path, images, folder=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    found = content(images, "boxes")
    for entry in found["images"]:
        entry["file_name"] = folder + entry["file_name"].rsplit("/", 1)[-1]
    path.write_text(json.dumps(found))


@pytest.mark.parametrize(
    ("layout", "images"),
    [
        ("annotations/instances_{}2017.json", "{}2017"),
        ("{}/_annotations.coco.json", "{}"),
        ("annotations/{}.json", "images/{}"),
        ("{}.json", "images"),
    ],
)
def test_layouts_of_coco(tmp_path, layout, images):
    for split in ("train", "val"):
        coco(tmp_path / layout.format(split), tmp_path / images.format(split))
    (tmp_path / "annotations").mkdir(exist_ok=True)
    (tmp_path / "annotations/captions_val2017.json").write_text('{"images": [], "annotations": []}')
    for path in (tmp_path, tmp_path / layout.format("val")):
        found = read(path, "val")
        assert found.format == "coco" and found.folder == tmp_path / images.format("val")
        entry = found.content["images"][0]
        assert entry["file_name"] == str(found.folder / "0_1.png")
    assert read(tmp_path, "train").own_splits == ("train", "val")


def test_a_coco_file_is_handed_on_as_it_is(tmp_path):
    coco(tmp_path / "mine.json", tmp_path / "elsewhere", folder="sub\\")
    written = json.loads((tmp_path / "mine.json").read_text())
    written["annotations"][0].pop("area")
    (tmp_path / "mine.json").write_text(json.dumps(written))
    found = read(tmp_path / "mine.json", "train", images=tmp_path / "elsewhere")
    assert found.content["annotations"] == written["annotations"]
    assert found.content["images"][0]["file_name"] == str(tmp_path / "elsewhere/sub\\0_1.png")


def test_unknown_formats_name_what_was_looked_for_and_found(tmp_path):
    (tmp_path / "readme.md").touch()
    with pytest.raises(UserError) as error:
        recognise(tmp_path, "train")
    for word in ("data.yaml", "COCO", "labelme", "CVAT", "found readme.md", "--data-format"):
        assert word in str(error.value)
    with pytest.raises(UserError, match="There is no file or folder"):
        recognise(tmp_path / "gone")
    (tmp_path / "a.zip").touch()
    with pytest.raises(UserError, match="unpack it"):
        recognise(tmp_path / "a.zip")
    assert sorted(ORDER) == sorted(DETECTION_FORMATS)


def test_a_large_coco_file_is_recognised_by_its_begin(tmp_path, monkeypatch):
    from convnext_dense.data.formats.readers import coco as reader

    coco(tmp_path / "mine.json", tmp_path)
    (tmp_path / "other.json").write_text('[{"images": []}]')
    monkeypatch.setattr(reader, "LARGE", 10)
    monkeypatch.setattr(reader, "read_json", None)
    assert recognise(tmp_path / "mine.json") == "coco"
    assert not reader.fits(tmp_path / "other.json")


def test_two_coco_files_of_a_split_are_refused(tmp_path):
    for name in ("a_train.json", "b_train.json"):
        coco(tmp_path / name, tmp_path)
    with pytest.raises(UserError, match="several COCO files.*name the file itself"):
        recognise(tmp_path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "bmp"])
def test_sizes_are_those_that_training_reads(tmp_path, suffix):
    for turned in (False, True)[: 1 if suffix == "bmp" else 2]:
        path = write_image(tmp_path / f"a.{suffix}", (40, 20), turned)
        assert image_size(path) == read_image(path).shape[1::-1]


def test_images_are_found_under_the_names_of_other_machines(tmp_path):
    for name in ("x/a.png", "y/a.png", "y/B.JPG"):
        write_image(tmp_path / name.lower())
    (tmp_path / "y/b.jpg").rename(tmp_path / "y/B.JPG")
    index = ImageIndex([tmp_path])
    assert index.find("C:\\me\\y\\a.png") == tmp_path / "y/a.png"
    assert index.find("/else/b.jpg") == index.find("b") == tmp_path / "y/B.JPG"
    assert index.find("c.png") is None and index.find("a.jpg") is None
    with pytest.raises(UserError, match="may be .*x/a.png or .*y/a.png.*--images"):
        index.find("z/a.png")


def test_a_broken_image_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="a.png cannot be read as an image"):
        image_size(tmp_path / "a.png")
    with pytest.raises(UserError, match="There is no image"):
        image_size(tmp_path / "b.png")
