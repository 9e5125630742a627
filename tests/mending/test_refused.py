"""Where a mending would be a guess, one sentence says so; and the classes of a second file."""

import copy

import pytest
from PIL import Image

from convnext_dense.data.coco.check_entries import check_coco
from convnext_dense.data.mending.mend import mend
from convnext_dense.errors import UserError
from tests.mending.damages import CLASSES, SIZES, sound, truth


@pytest.fixture
def content(tmp_path) -> dict:
    return sound(tmp_path)


def mended(content, folder, classes=None):
    """What is left after mending, and checked as any file is."""
    found = mend(content, "street.json", folder, classes)
    check_coco("street.json", found.content)
    return found


def corners(content):
    for one in content["annotations"]:
        x, y, width, height = one["bbox"]
        one["bbox"] = [x, y, x + width, y + height]


def some_without_mask(content):
    content["annotations"][4]["segmentation"] = []


def two_sizes(content):
    first = content["images"][0]
    content["images"].append(dict(first, id=5, width=30))
    content["annotations"].append(dict(content["annotations"][0], id=99, image_id=5, bbox=[1] * 4))


def one_id(content):
    content["images"][1]["id"] = content["images"][0]["id"]


def one_category_id(content):
    content["categories"][1]["id"] = content["categories"][0]["id"]


def unknown_category(content):
    content["annotations"][2]["category_id"] = 33


def unknown_category_by_name(content):
    for category in content["categories"]:
        category["id"] = category["name"]
    for one in content["annotations"]:
        one["category_id"] = CLASSES[(one["category_id"] - 4) // 3]
    content["annotations"][2]["category_id"] = 1  # must not become the first of the numbered ones


def far_outside(content):
    for one in content["annotations"][:3]:
        one["bbox"][0] += 500


def many_flat(content):
    for one in content["annotations"][:4]:
        one |= dict(bbox=[3, 3, 0, 5], segmentation=[[3, 3, 3, 8]], area=0)


def ids_of_another_file(content):
    for one in content["annotations"]:
        one["image_id"] += 1


def no_ids(content):
    for image in content["images"]:
        del image["id"]


def no_names(content):
    del content["categories"][0]["name"]


def ambiguous_file(content):
    content["images"][1]["file_name"] = "001.png"


def one_file_for_two(content):
    content["images"][1]["file_name"] = "x/a b.png"
    content["images"][2]["file_name"] = "y/a b.png"
    content["images"][0]["file_name"] = "gone.png"


def entries_in_a_dict(content):
    content["images"] = {str(image["id"]): image for image in content["images"]}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (corners, "two corners"),
        (some_without_mask, r"1 of 9 annotations have no segmentation \(first id: 5\)"),
        (two_sizes, r"a b.png as 2 images of different sizes \(30 x 40 and 60 x 40\)"),
        (one_id, "gives the id 10 to a b.png and to cam1/001.png"),
        (one_category_id, "category id 4 to '7' and to 'car'"),
        (unknown_category, "1 of 9 annotations have a category_id of no category"),
        (unknown_category_by_name, "a category_id that none of the categories has"),
        (far_outside, "lies outside of its image"),
        (many_flat, "without area"),
        (ids_of_another_file, "9 of 9 annotations have an image_id that no image has"),
        (no_ids, "4 of 4 images have no 'id'"),
        (no_names, "a name that is no text"),
        (ambiguous_file, "names 001.png, which may be cam1/001.png or cam2/001.png .*--images"),
        (one_file_for_two, "names x/a b.png and y/a b.png, and for both there is only a b.png"),
        (entries_in_a_dict, "images are a dict.*--train-data"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_guesses_are_refused(content, tmp_path, wrong, words):
    wrong(content)
    with pytest.raises(UserError, match=f"street.json.*{words}"):
        mended(content, tmp_path)


def test_other_folders_are_other_images(content, tmp_path):
    """A missing image is left out and not taken from another folder, where most are there."""
    content["images"][1]["file_name"] = "cam9/001.png"
    found = mended(content, tmp_path)
    assert [i["file_name"] for i in found.content["images"]] == [
        "a b.png",
        "cam2/001.png",
        "Empty.PNG",
    ]
    assert [(row.what.split(":")[0], row.count) for row in found.rows] == [
        ("images without a file", 1), ("annotations of images without a file", 3)
    ]  # fmt: skip
    for image in content["images"]:
        image["file_name"] = f"other/{image['file_name']}x"
    assert len(mend(content, "street.json", tmp_path).content["images"]) == len(SIZES)  # refused


def test_sizes_are_those_that_training_sees(content, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("RGB", (70, 50)).save(tmp_path / "cam1/001.png", exif=exif)
    before = truth(content)
    for image in content["images"]:
        del image["width"]
    assert truth(mended(content, tmp_path).content) == before


def test_another_order_of_classes_is_brought_into_that_of_the_training(content, tmp_path):
    other = copy.deepcopy(content)
    other["categories"] = [dict(one, id=one["id"] + 50) for one in content["categories"][::-1]]
    for one in other["annotations"]:
        one["category_id"] += 50
    found = mended(other, tmp_path, CLASSES)
    assert truth(found.content) == truth(content) and len(found.rows) == 1


def test_a_class_without_an_instance_may_be_missing(content, tmp_path):
    content["annotations"] = [one for one in content["annotations"] if one["category_id"] != 7]
    del content["categories"][1]
    found = mended(content, tmp_path, CLASSES).content
    assert [one["name"] for one in found["categories"]] == list(CLASSES)
    assert len({one["id"] for one in found["categories"]}) == 3
    assert truth(found)[0] == truth(content)[0]


def test_an_unknown_class_with_instances_is_left_to_the_check(content, tmp_path):
    content["categories"][1]["name"] = "lorry"
    assert mended(content, tmp_path, CLASSES) == (content, [])


@pytest.mark.parametrize("name", ["Car", "car ", "CAR"])
def test_names_that_differ_by_case_or_spaces_are_refused(content, tmp_path, name):
    content["categories"][1]["name"] = name
    with pytest.raises(UserError, match=f"has a class {name!r}, and the training data 'car'"):
        mended(content, tmp_path, CLASSES)


def test_a_filler_that_was_trained_stays(content, tmp_path):
    content["categories"].insert(0, dict(id=0, name="none"))
    assert mended(content, tmp_path, ("none", *CLASSES)).rows == []
    assert [c["name"] for c in mended(content, tmp_path).content["categories"]] == list(CLASSES)


def test_the_file_of_a_test_server(content, tmp_path):
    del content["annotations"]
    assert mend(content, "street.json", tmp_path, CLASSES) == (content, [])
    del content["categories"]
    found = mended(content, tmp_path, CLASSES).content
    assert [one["name"] for one in found["categories"]] == list(CLASSES)
    with pytest.raises(UserError, match="categories are missing"):
        mend(content, "street.json", tmp_path)
