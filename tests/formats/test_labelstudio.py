"""Label Studio: percent, rotation, brushes, names of images."""

import json

import numpy as np
import pytest

from convnext_dense.data.formats.geometry import segmentation_mask
from convnext_dense.data.formats.reading import read
from convnext_dense.errors import UserError
from tests.formats.drawn import write_image


def result(kind, label="dog", **value):
    return dict(type=kind, original_width=100, original_height=50, value={kind: [label], **value})


def task(*results, image="/data/upload/1/0a1b2c3d-a.png", **entries):
    return dict(id=5, data=dict(image=image), annotations=[dict(result=results)], **entries)


def dataset(root, *tasks):
    write_image(root / "images/a.png")
    (root / "export.json").write_text(json.dumps(tasks))
    return root


BOX_AT = dict(x=10, y=20, width=30.5, height=40, rotation=0)
BOX = result("rectanglelabels", **BOX_AT)


def test_shapes_in_pixels(tmp_path):
    found = read(
        dataset(
            tmp_path,
            task(
                BOX,
                result("polygonlabels", "cat", points=[[1, 2], [11, 2], [11, 12]]),
                result("ellipselabels", x=50, y=50, radiusX=10, radiusY=10),
                result("rectanglelabels", x=50, y=20, width=10, height=40, rotation=90),
            ),
        ),
        "train",
    )
    assert found.format == "labelstudio" and found.own_splits == ()
    box, polygon, ellipse, turned = found.content["annotations"]
    np.testing.assert_allclose(box["bbox"], [10, 10, 30.5, 20], atol=1e-9)
    np.testing.assert_allclose(polygon["segmentation"], [[1, 1, 11, 1, 11, 6]], atol=1e-9)
    np.testing.assert_allclose(ellipse["bbox"], [40, 20, 20, 10], atol=1e-9)
    # 10 x 20 pixels, turned clockwise about its upper left corner (50, 10): to the left, downwards
    np.testing.assert_allclose(turned["bbox"], [30, 10, 20, 10], atol=1e-9)
    assert [c["name"] for c in found.content["categories"]] == ["cat", "dog"]


def pack(values, value_bits=8, sizes=(3, 4, 8, 15)):
    """rle-pack's form, written by its published description: runs where values repeat."""
    bits = f"{len(values):032b}{value_bits - 1:05b}" + "".join(f"{s - 1:04b}" for s in sizes)
    place = 0
    while place < len(values):
        end = place + 1
        while end < len(values) and values[end] == values[place] and end - place < 2 ** sizes[3]:
            end += 1
        count = end - place
        if count > 1:
            which = next(i for i, size in enumerate(sizes) if count <= 2**size)
            bits += f"1{which:02b}{count - 1:0{sizes[which]}b}{values[place]:0{value_bits}b}"
        else:
            bits += f"000{0:0{sizes[0]}b}{values[place]:0{value_bits}b}"
        place = end
    bits += "0" * (-len(bits) % 8)
    return [int(bits[start : start + 8], 2) for start in range(0, len(bits), 8)]


def test_brushes(tmp_path):
    rng = np.random.default_rng(3)
    mask = np.zeros((50, 100), bool)
    mask[10:20, 30:70] = rng.random((10, 40)) < 0.5
    mask[30:45, 5:95] = True
    colours = np.repeat(rng.integers(0, 255, (50, 1, 3)), 100, axis=1)
    values = np.concatenate([colours, 255 * mask[..., None]], axis=2).ravel().tolist()
    brush = result("brushlabels", format="rle", rle=pack(values))
    (found,) = read(dataset(tmp_path, task(brush)), "train").content["annotations"]
    np.testing.assert_array_equal(segmentation_mask(found["segmentation"], (100, 50)), mask)
    for rle, said in ((pack(values)[:-9], "ends too early"), (pack(values[:80]), "20 pixels")):
        with pytest.raises(UserError, match=said):
            read(dataset(tmp_path, task({**brush, "value": {**brush["value"], "rle": rle}})), "val")


@pytest.mark.parametrize(
    "image",
    [
        "/data/upload/1/0a1b2c3d-a.png",
        "/data/local-files/?d=some/images/a.png",
        "s3://bucket/images/a.png",
        "https://host/x/a.png?X-Amz-Signature=1",
        "a.png",
    ],
)
def test_names_of_images(tmp_path, image):
    (found,) = read(dataset(tmp_path, task(BOX, image=image)), "train").content["images"]
    assert found["file_name"] == str(tmp_path / "images/a.png")


def test_a_name_that_keeps_the_mark_of_the_upload(tmp_path):
    write_image(tmp_path / "images/0a1b2c3d-a.png")
    (found,) = read(dataset(tmp_path, task(BOX)), "train").content["images"]
    assert found["file_name"].endswith("0a1b2c3d-a.png")


def test_predictions_skipped_tasks_and_minimal_exports(tmp_path):
    skipped = {**task(BOX), "annotations": [dict(result=[BOX], was_cancelled=True)]}
    guessed = {**task(BOX), "annotations": [], "predictions": [dict(result=[BOX])]}
    empty = task()
    found = read(dataset(tmp_path, skipped, guessed, empty), "train")
    assert len(found.content["images"]) == 1 and found.content["annotations"] == []
    said = "".join(found.remarks)
    assert "1 tasks were skipped" in said and "1 tasks have no annotation" in said
    minimal = dict(
        image="/data/upload/1/0a1b2c3d-a.png",
        id=1,
        label=[{**BOX["value"], "original_width": 100, "original_height": 50}],
        annotator=1,
        annotation_id=1,
    )
    (found,) = read(dataset(tmp_path, minimal), "train").content["annotations"]
    np.testing.assert_allclose(found["bbox"], [10, 10, 30.5, 20], atol=1e-9)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({**BOX, "original_width": 640}, "made for 640 x 50"),
        ({**BOX, "image_rotation": 90}, "turned by 90 degrees"),
        (result("rectanglelabels", x=1, y=2, width=3), "rectangle, cannot be read"),
        (result("polygonlabels", points=[[1, 2], [3, 4]]), "2 points of at least 3"),
    ],
)
def test_refused_results(tmp_path, bad, said):
    with pytest.raises(UserError, match=said):
        read(dataset(tmp_path, task(bad)), "train")


def test_what_is_left_out_is_said(tmp_path):
    found = read(dataset(tmp_path, task(result("keypointlabels", x=1, y=1), BOX)), "train")
    assert len(found.content["annotations"]) == 1
    assert "type keypointlabels are left out" in "".join(found.remarks)


def test_shapes_over_the_edge_are_cut_or_refused(tmp_path):
    slightly = result("rectanglelabels", x=50, y=0, width=50.9, height=100)
    turned = result("rectanglelabels", x=90, y=20, width=20, height=20, rotation=1e-3)
    ellipse = result("ellipselabels", x=95, y=50, radiusX=10, radiusY=20)
    found = read(dataset(tmp_path / "cut", task(slightly, turned, ellipse)), "train")
    edges = [[50, 0, 50, 50], [90, 10, 10, 10], [85, 15, 15, 20]]
    for one, box in zip(found.content["annotations"], edges, strict=True):
        np.testing.assert_allclose(one["bbox"], box, atol=0.01)
    for number, (bad, said) in enumerate((
        (result("rectanglelabels", x=96, y=0, width=30, height=50), "26.0 pixels over the edge"),
        (result("polygonlabels", points=[[1, 1], [130, 1], [1, 50]]), "30.0 pixels over the edge"),
        (result("ellipselabels", x=105, y=50, radiusX=10, radiusY=10), "by half or more"),
        (result("rectanglelabels", x=150, y=0, width=9, height=50, rotation=9), "by half or more"),
    )):  # fmt: skip
        with pytest.raises(UserError, match=f"task 5, result 2.*{said}"):
            read(dataset(tmp_path / str(number), task(BOX, bad)), "train")


@pytest.mark.parametrize(
    ("times", "taken"), [(("", ""), "cat"), (("2024-02", "2024-01"), "dog"), (("", "2024"), "cat")]
)
def test_the_last_of_several_annotations_is_taken(tmp_path, times, taken):
    both = [result("rectanglelabels", name, **BOX_AT) for name in ("dog", "cat")]
    one = task(BOX)
    one["annotations"] = [
        dict(result=[shape], created_at=time) for shape, time in zip(both, times, strict=True)
    ]
    found = read(dataset(tmp_path, one), "train")
    assert [c["name"] for c in found.content["categories"]] == [taken]
    assert "several annotations: the last is taken" in "".join(found.remarks)
