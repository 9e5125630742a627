"""A COCO file beside its images: names that differ a little, sizes that EXIF turns."""

import json

import pytest
from PIL import Image

from convnext_dense.data.coco.find_images import check_images_exist
from convnext_dense.errors import UserError
from tests.datasets.test_own_data import detection_flags, load
from tests.miniature import SHAPES

NAMES = ("IMG 1.JPG", "Bär 2.jpg", "c+3.png")


@pytest.fixture
def folder(tmp_path):
    for name in NAMES:
        (tmp_path / name).touch()
    return tmp_path


def message(folder, *names) -> str:
    with pytest.raises(UserError) as caught:
        check_images_exist("a.json", str(folder), names)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("img 1.jpg", "in other upper and lower case ('IMG 1.JPG' for 'img 1.jpg')"),
        ("IMG%201.JPG", "with %20 and the like unescaped ('IMG 1.JPG' for"),
        (".\\IMG 1.JPG", "with / instead of \\"),
        ("C:\\work\\IMG 1.JPG", "by the last part of their path"),
        ("/home/me/set/IMG 1.JPG", "by the last part of their path ('IMG 1.JPG' for"),
        ("https://a.b/c%2B3.png?x=1", "by the last part of their path, unescaped ('c+3.png'"),
        ("set/img 1.jpg", "by the last part of their path, in other upper and lower case"),
        ("Ba\u0308r 2.jpg", "('Bär 2.jpg' for"),
    ],
)
def test_the_change_that_finds_an_image_is_named(folder, name, how):
    text = message(folder, NAMES[2], name)
    assert "1 of 2 images of a.json are not in" in text and how in text
    assert "they are all there" in text


def test_images_in_sub_folders(folder):
    (folder / "train").mkdir()
    (folder / "train/d 4.jpg").touch()
    assert "by name in a sub-folder ('train/d 4.jpg' for 'd 4.jpg')" in message(folder, "d 4.jpg")
    text = message(folder, "x/D%204.jpg", "E.jpg", "img 1.jpg")
    assert "2 of them are there by name in a sub-folder, unescaped and in other upper" in text


def test_images_that_are_nowhere(folder, tmp_path):
    assert message(folder, "e.jpg", "f.jpg").endswith(": e.jpg, f.jpg.")
    (tmp_path / "empty").mkdir()
    assert "that folder holds no file" in message(tmp_path / "empty", "e.jpg")
    check_images_exist("a.json", str(folder), NAMES)


def portrait(birds, turned: bool, size=(200, 120)) -> dict:
    """Makes the first image of the training one of ``size`` in its file, turned by EXIF."""
    path = birds / "train.json"
    content = json.loads(path.read_text())
    image = content["images"][0]
    exif = Image.Exif()
    exif[0x0112] = 6 if turned else 1
    Image.new("RGB", size).save(birds / "images" / image["file_name"], exif=exif)
    image.update(width=size[0], height=size[1])
    first = next(a for a in content["annotations"] if a["image_id"] == image["id"])
    first["bbox"] = [20, 140, 60, 50]  # inside of 120 x 200
    content["annotations"] = [
        a for a in content["annotations"] if a is first or a["image_id"] != image["id"]
    ]
    for annotation in content["annotations"]:
        annotation.pop("segmentation")
    path.write_text(json.dumps(content))
    return content


def test_the_size_is_named_before_the_box(birds):
    portrait(birds, turned=True)
    with pytest.raises(UserError) as caught:
        load(SHAPES, *detection_flags(birds))
    text = str(caught.value)
    assert "states a wrong size for 1 of 1 opened images" in text
    assert "has 120 x 200 (its EXIF entry turns it) and not 200 x 120" in text
    assert text.endswith(
        "the boxes fit the images as they are: exchange width and height in the file."
    )


def test_a_turned_image_does_not_excuse_every_box(birds):
    content = portrait(birds, turned=True)
    first = next(a for a in content["annotations"] if a["image_id"] == content["images"][0]["id"])
    first["bbox"] = [150, 150, 60, 50]  # outside of 120 x 200 too
    (birds / "train.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="turns it.*correct width and height in the file, and the"):
        load(SHAPES, *detection_flags(birds))


def test_another_size_is_named_before_the_box(birds):
    content = portrait(birds, turned=False)
    Image.new("RGB", (90, 99)).save(birds / "images" / content["images"][0]["file_name"])
    words = "has 90 x 99 and not 200 x 120: correct width and height in the file, and the boxes"
    with pytest.raises(UserError, match=words):
        load(SHAPES, *detection_flags(birds))


def test_a_box_outside_of_an_image_of_the_stated_size(birds):
    portrait(birds, turned=False)
    with pytest.raises(UserError, match="have a box that lies outside of its image"):
        load(SHAPES, *detection_flags(birds))


def test_fractions_are_recognised(birds):
    path = birds / "train.json"
    content = json.loads(path.read_text())
    sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    for annotation in content["annotations"]:
        x, y, w, h = annotation["bbox"]
        width, height = sizes[annotation["image_id"]]
        annotation["bbox"] = [x / width, y / height, w / width, h / height]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="fractions of the image .*multiply by its width and hei"):
        load(SHAPES, *detection_flags(birds))


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("image_id", "an image_id that no image has (add the images, or remove these annotations)"),
        ("category_id", "a category_id of no category (add the categories, or remove these anno"),
    ],
)
def test_ids_that_refer_to_nothing(birds, key, sentence):
    path = birds / "train.json"
    content = json.loads(path.read_text())
    content["annotations"][0][key] = 12345
    path.write_text(json.dumps(content))
    with pytest.raises(UserError) as caught:
        load(SHAPES, *detection_flags(birds))
    assert sentence in str(caught.value)


def test_masks_of_a_turned_image(birds):
    """An RLE has the size of the image as it is shown; the file states the size before turning."""
    content = portrait(birds, turned=True)
    first = next(a for a in content["annotations"] if a["image_id"] == content["images"][0]["id"])
    first.update(bbox=[20, 40, 60, 50])
    for annotation in content["annotations"]:
        annotation["segmentation"] = [[1, 1, 9, 1, 9, 9]]
    first["segmentation"] = dict(size=[200, 120], counts=[40, 30, 200 * 120 - 70])
    (birds / "train.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="has 120 x 200 .its EXIF entry turns it. and not 200 x 12"):
        load(SHAPES, *detection_flags(birds))


def test_polygons_in_fractions(birds):
    path = birds / "train.json"
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        annotation["segmentation"] = [[0.1, 0.1, 0.5, 0.2, 0.5, 0.7]]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="a polygon within 0 and 1, as if in fractions"):
        load(SHAPES, *detection_flags(birds))
