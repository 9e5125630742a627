"""CVAT: images, subsets, tracks of a video."""

import numpy as np
import pytest

from convnext_dense.data.formats.geometry import segmentation_mask
from convnext_dense.data.formats.reading import read, recognise
from convnext_dense.errors import UserError
from tests.formats.drawn import write_image

LABELS = "".join(f"<label><name>{name}</name></label>" for name in ("dog", "cat"))
META = f"<version>1.1</version><meta><task><labels>{LABELS}</labels></task></meta>"
BOX = 'label="cat" xtl="10.25" ytl="5" xbr="30" ybr="20.5"'


def image(*shapes, name="sub/a.png", extra=""):
    size = 'width="100" height="50"'
    return f'<image id="0" name="{name}" {size} {extra}>{"".join(shapes)}</image>'


def dataset(root, *parts):
    write_image(root / "images/sub/a.png")
    text = f"<?xml version='1.0'?><annotations>{META}{''.join(parts)}</annotations>"
    (root / "annotations.xml").write_text(text)
    return root


def test_shapes_in_pixels(tmp_path):
    found = read(
        dataset(
            tmp_path,
            image(
                f"<box {BOX}/>",
                '<polygon label="dog" points="1,2;11.5,2;11.5,12"/>',
                '<ellipse label="dog" cx="50" cy="25" rx="10" ry="5"/>',
                '<ellipse label="dog" cx="50" cy="25" rx="10" ry="5" rotation="90"/>',
                '<box label="cat" xtl="40" ytl="20" xbr="60" ybr="30" rotation="30"/>',
            ),
        ),
        "train",
    )
    assert found.format == "cvat"
    box, polygon, ellipse, turned, rotated = found.content["annotations"]
    assert box["bbox"] == [10.25, 5, 19.75, 15.5] and "segmentation" not in box
    assert polygon["segmentation"] == [[1, 2, 11.5, 2, 11.5, 12]]
    np.testing.assert_allclose(ellipse["bbox"], [40, 20, 20, 10], atol=1e-9)
    np.testing.assert_allclose(turned["bbox"], [45, 15, 10, 20], atol=1e-9)
    # The first corner, (-10, -5) from the centre, turned clockwise by 30 degrees as y points down.
    half = np.sqrt(3) / 2
    np.testing.assert_allclose(
        rotated["segmentation"][0][:2], [50 - 10 * half + 2.5, 25 - 5 - 5 * half], atol=1e-9
    )
    assert [c["name"] for c in found.content["categories"]] == ["dog", "cat"]
    assert "1 rotated boxes" in "".join(found.remarks)


def test_masks(tmp_path):
    rle = '<mask label="dog" left="10" top="20" width="3" height="2" rle="1, 2, 2, 1"/>'
    (found,) = read(dataset(tmp_path, image(rle)), "train").content["annotations"]
    whole = np.zeros((50, 100), bool)
    whole[20:22, 10:13] = [[0, 1, 1], [0, 0, 1]]
    np.testing.assert_array_equal(segmentation_mask(found["segmentation"], (100, 50)), whole)
    with pytest.raises(UserError, match="does not fill its box"):
        read(dataset(tmp_path, image(rle.replace("2, 1", "2, 2"))), "train")


def test_subsets_are_splits(tmp_path):
    write_image(tmp_path / "images/b.png")
    dataset(
        tmp_path,
        image(extra='subset="Train"'),
        image(f"<box {BOX}/>", name="b.png", extra='subset="Validation"'),
    )
    assert recognise(tmp_path) == "cvat"
    found = read(tmp_path, "val")
    assert found.own_splits == ("train", "val") and len(found.content["annotations"]) == 1


def test_what_has_no_area_is_left_out_and_said(tmp_path):
    parts = ('<points label="dog" points="1,2"/>', '<tag label="dog"/>', '<polyline points="1,2"/>')
    found = read(dataset(tmp_path, image(*parts)), "train")
    said = "".join(found.remarks)
    assert found.content["annotations"] == []
    assert "points" in said and "tags" in said and "polyline" in said


def track(*boxes):
    shapes = "".join(
        f'<box frame="{frame}" xtl="{x}" ytl="0" xbr="{x + 10}" ybr="8" outside="{outside}"/>'
        for frame, x, outside in boxes
    )
    return f'<track id="3" label="dog">{shapes}</track>'


def test_tracks_of_a_video(tmp_path):
    for frame in range(6):
        write_image(tmp_path / f"images/frame_{frame:06d}.png")
    dataset(tmp_path, track((0, 0, 0), (3, 6, 0), (4, 8, 0), (5, 9, 1)))
    found = read(tmp_path, "train").content
    assert len(found["images"]) == 6
    assert [a["bbox"][0] for a in found["annotations"]] == [0, 2, 4, 6, 8]  # evenly; then outside
    assert [a["image_id"] for a in found["annotations"]] == [1, 2, 3, 4, 5]
    polygon = track((0, 0, 0), (3, 6, 0)).replace("<box", "<polygon")
    with pytest.raises(UserError, match="track 3 has a polygon in frame 0 and the next in 3"):
        read(dataset(tmp_path, polygon), "train")
    (tmp_path / "images/frame_000004.png").unlink()
    with pytest.raises(UserError, match="1 of 6 annotated frames.*frame 4"):
        read(dataset(tmp_path, track((0, 0, 0), (5, 6, 0))), "train")


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ('<box label="dog" xtl="1" ytl="2" xbr="3"/>', "shape 1: ybr is None"),
        ('<polygon label="dog" points="1,2;3,4"/>', "no three pairs"),
        ('<box xtl="1" ytl="2" xbr="3" ybr="4"/>', "has no label"),
        ('<blob label="dog"/>', "is a <blob>"),
    ],
)
def test_refused_shapes(tmp_path, bad, said):
    with pytest.raises(UserError, match=f"image sub/a.png, {said}|{said}"):
        read(dataset(tmp_path, image(bad)), "train")


def test_missing_images_are_named(tmp_path):
    with pytest.raises(UserError, match="1 of 1 images .*lost.png.*--images"):
        read(dataset(tmp_path, image(name="x/lost.png")), "train")


def test_shapes_over_the_edge_are_cut_or_refused(tmp_path):
    ellipse = '<ellipse label="dog" cx="95" cy="25" rx="10" ry="5"/>'
    (found,) = read(dataset(tmp_path, image(ellipse)), "train").content["annotations"]
    np.testing.assert_allclose(found["bbox"], [85, 20, 15, 10], atol=1e-4)
    for bad in (
        '<box label="dog" xtl="90" ytl="5" xbr="120" ybr="9"/>',
        '<polygon label="dog" points="90,5;120,9;90,20"/>',
    ):
        with pytest.raises(UserError, match="shape 1 reaches 20.0 pixels over the edge"):
            read(dataset(tmp_path, image(bad)), "train")
