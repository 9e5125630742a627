"""labelme: every type of shape, groups, images."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from convnext_dense.data.formats.geometry import segmentation_mask
from convnext_dense.data.formats.reading import read
from convnext_dense.errors import UserError
from tests.formats.drawn import write_image


def shape(kind, points, label="dog", **entries):
    return dict(label=label, shape_type=kind, points=points, group_id=None, **entries)


def dataset(root, *shapes, **entries):
    write_image(root / "images/a.png")
    content = dict(
        version="5", imagePath="..\\images\\a.png", imageData=None, shapes=list(shapes), **entries
    )
    (root / "labels").mkdir(exist_ok=True)
    (root / "labels/a.json").write_text(json.dumps(content))
    return root / "labels"


def annotations(*args, **kwargs):
    return read(dataset(*args, **kwargs), "train").content["annotations"]


def test_shapes_in_pixels(tmp_path):
    found = annotations(
        tmp_path,
        shape("rectangle", [[30.5, 20], [10, 5.25]]),
        shape("polygon", [[1, 2], [11.5, 2], [11.5, 12]]),
        shape("circle", [[50, 25], [53, 29]]),
        imageWidth=100,
        imageHeight=50,
    )
    assert [a["bbox"] for a in found[:2]] == [[10, 5.25, 20.5, 14.75], [1, 2, 10.5, 10]]
    assert "segmentation" not in found[0]
    assert found[1]["segmentation"] == [[1, 2, 11.5, 2, 11.5, 12]] and found[1]["area"] == 55
    np.testing.assert_allclose(found[2]["bbox"], [45, 20, 10, 10], atol=1e-9)
    assert found[2]["area"] == pytest.approx(np.pi * 25, rel=0.05)


def test_a_group_is_one_object(tmp_path):
    square = [[0, 0], [4, 0], [4, 4], [0, 4]]
    parts = [dict(shape("polygon", square), group_id=7) for _ in range(2)]
    parts[1]["points"] = [[x + 10, y + 10] for x, y in square]
    cat = dict(shape("polygon", square, label="cat"), group_id=7)
    first, second = annotations(tmp_path, *parts, cat)
    assert len(first["segmentation"]) == 2 and first["bbox"] == [0, 0, 14, 14]
    assert first["area"] == 32 and second["area"] == 16


def test_masks(tmp_path):
    cut = np.array([[1, 0, 1], [1, 1, 0]], bool)
    stream = io.BytesIO()
    Image.fromarray(cut).save(stream, "png")
    mask = base64.b64encode(stream.getvalue()).decode()
    (found,) = annotations(tmp_path, shape("mask", [[10, 20], [12, 21]], mask=mask))
    whole = np.zeros((50, 100), bool)
    whole[20:22, 10:13] = cut
    np.testing.assert_array_equal(segmentation_mask(found["segmentation"], (100, 50)), whole)
    assert found["bbox"] == [10, 20, 3, 2] and found["area"] == 4
    with pytest.raises(UserError, match="outside of its image"):
        annotations(tmp_path, shape("mask", [[98, 20], [100, 21]], mask=mask))


def test_what_has_no_area_is_left_out_and_said(tmp_path):
    folder = dataset(tmp_path, shape("point", [[1, 1]]), shape("linestrip", [[1, 1], [2, 2]]))
    (folder / "notes.json").write_text("{}")
    found = read(folder, "train")
    said = "".join(found.remarks)
    assert found.content["annotations"] == [] and "type point" in said and "linestrip" in said
    assert "notes.json" in said


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (shape("polygon", [[1, 1], [2, 2]]), "has 2 points of at least 3"),
        (shape("polygon", [[1, 1], [2, 2], [3, "x"]]), "no list of pairs"),
        (shape("star", [[1, 1]]), "type 'star', which is not read"),
        (dict(points=[[1, 1]]), "has no label"),
        (shape("mask", [[1, 1], [2, 2]], mask="%%%"), "no PNG in base64"),
    ],
)
def test_refused_shapes(tmp_path, bad, said):
    with pytest.raises(UserError, match=f"a.json: shape 1.*{said}"):
        annotations(tmp_path, bad)


def test_images_that_are_not_there(tmp_path):
    folder = dataset(tmp_path, imageWidth=100, imageHeight=50)
    (tmp_path / "images/a.png").unlink()
    with pytest.raises(UserError, match="--images"):
        read(folder, "train")
    content = json.loads((folder / "a.json").read_text())
    (folder / "a.json").write_text(json.dumps({**content, "imageData": "aGk="}))
    with pytest.raises(UserError, match="hold their image in themselves"):
        read(folder, "train")
    write_image(tmp_path / "else/a.png")
    found = read(folder, "train", images=tmp_path / "else")
    assert found.content["images"][0]["file_name"] == str(tmp_path / "else/a.png")


def test_shapes_over_the_edge_are_cut_or_refused(tmp_path):
    (found,) = annotations(tmp_path / "cut", shape("circle", [[95, 25], [95, 35]]))
    np.testing.assert_allclose(found["bbox"], [85, 15, 15, 20], atol=1e-4)
    rectangle = shape("rectangle", [[90, 5], [120, 9]])
    for number, bad in enumerate((rectangle, shape("polygon", [[90, 5], [120, 9], [90, 20]]))):
        with pytest.raises(UserError, match="shape 1 reaches 20.0 pixels over the edge"):
            annotations(tmp_path / str(number), bad)
