"""Images and labels by the common stem of their names; what is ambiguous is refused."""

import pytest

from convnext_dense.data.layouts.pairing import holds_pairs, pair_folders, unused_labels
from convnext_dense.errors import UserError


def write(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def pairs_of(tmp_path, images, labels, **options) -> dict[str, str]:
    folders = write(tmp_path / "i", images), write(tmp_path / "l", labels)
    found = pair_folders(*folders, **options)
    return {
        image.relative_to(folders[0]).as_posix(): label.relative_to(folders[1]).as_posix()
        for image, label in found
    }


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (["a.jpg", "b.png", "c.JPEG"], ["a.png", "b.png", "c.png"]),
        (["a_1.jpg", "a_10.jpg", "a.jpg"], ["a_1_m.png", "a_10_m.png", "a_m.png"]),
        (["a.jpg", "b.jpg"], ["a_mask.png", "b-label.bmp"]),  # each a suffix of its own
        (["a_rgb.jpg", "b_rgb.jpg"], ["a_seg.png", "b_seg.png"]),
        (["x_001_img.tif", "x_002_img.tif"], ["x_001_gt_ids.tif", "x_002_gt_ids.tif"]),
        (["img-1.jpg", "img-2.jpg"], ["gt-1.png", "gt-2.png"]),
        (["a.b.jpg", "a.c.jpg"], ["a.b.png", "a.c.png"]),
        (["s/a.jpg", "t/a.jpg"], ["s/a.png", "t/a.png"]),
        (["s/a.jpg", "s/b.jpg"], ["a.png", "b.png"]),
        (["only.jpg"], ["only_L.png"]),
    ],
)  # fmt: skip
def test_the_common_stem_pairs(tmp_path, images, labels):
    assert pairs_of(tmp_path, images, labels) == dict(zip(images, labels, strict=True))


def test_of_several_labels_the_one_that_serves_most(tmp_path):
    images = ["a.jpg", "b.jpg", "c.jpg"]
    labels = ["a_m.png", "b_m.png", "c_m.png", "a_old.png"]
    assert pairs_of(tmp_path, images, labels)["a.jpg"] == "a_m.png"
    both = [*labels, "b_old.png", "c_old.png"]
    with pytest.raises(UserError, match=r"several files for each image \(_m.png, _old.png\)"):
        pairs_of(tmp_path, images, both)
    named = pairs_of(tmp_path, images, both, suffix="_old.png")
    assert set(named.values()) == {"a_old.png", "b_old.png", "c_old.png"}


def test_images_without_label_are_named_or_left_out(tmp_path):
    images, labels = [f"{n}.jpg" for n in range(9)], ["0.png", "1.png"]
    with pytest.raises(UserError, match=r"7 of 9 .*as 0.jpg has 0.png: 2.jpg, .*6.jpg \.\.\.: "):
        pairs_of(tmp_path, images, labels)
    assert pairs_of(tmp_path, images, labels, partial=True) == {"0.jpg": "0.png", "1.jpg": "1.png"}


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (["notes.txt"], ["a.png"], "holds no image"),
        (["a.jpg"], ["b.png"], r"no label for the images .*it holds b.png"),
        (["a_1.jpg"], ["a_10.png"], r"no label for the images .*it holds a_10.png"),
        (["a.jpg"], ["a.jpg"], r"stored without loss \(.png.*it holds no such file"),
        (["a.jpg", "a.png"], ["a.png"], "images of one name with several endings.*a.jpg, a.png"),
    ],
)  # fmt: skip
def test_what_cannot_be_paired_is_refused(tmp_path, images, labels, message):
    with pytest.raises(UserError, match=message):
        pairs_of(tmp_path, images, labels)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (["a.jpg", "b.jpg"], ["a_mask.png", "b_mask.png"]),
        (["a.png", "a_2.png"], ["a_m.png", "a_2_m.png"]),
        (["a.jpg", "b.jpeg"], ["a.png", "b.png"]),
        (["a.png", "b.png"], ["a.seg.png", "b.seg.png"]),
    ],
)
def test_images_and_labels_of_one_folder(tmp_path, images, labels):
    folder = write(tmp_path / "both", [*images, *labels])
    assert holds_pairs(folder)
    found = {image.name: label.name for image, label in pair_folders(folder, folder)}
    assert found == dict(zip(images, labels, strict=True))


def test_a_folder_of_photos_holds_no_pairs(tmp_path):
    folder = write(tmp_path / "photos", ["a.jpg", "a_1.png", "a_2.png", "b.png"])
    assert not holds_pairs(folder)
    with pytest.raises(UserError, match="images without labels.*found a.jpg.*--images and --lab"):
        pair_folders(folder, folder)


def test_labels_without_image_are_told(tmp_path):
    images = write(tmp_path / "i", ["a_rgb.jpg", "b_rgb.jpg"])
    labels = write(tmp_path / "l", ["a_seg.png", "b_seg.png", "c_seg.png", "notes.txt"])
    assert unused_labels(pair_folders(images, labels), labels) == ["c_seg.png"]
