"""Predictions are those of tools/test.py, image by image, batched or not."""

import base64
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_api

from convnext_dense.errors import UserError
from convnext_dense.inference.model import load
from tests.inference.conftest import SEGMENTOR, flags
from tests.miniature import SHAPES
from tests.running import run


@pytest.fixture(scope="module")
def tested(work_dirs, data_root, tmp_path_factory) -> Callable[[str, bool], list]:
    """What tools/test.py writes of a task, plain or in several views."""
    folder = tmp_path_factory.mktemp("tested")

    @cache
    def results(task: str, views: bool) -> list:
        out, config = folder / f"{task} {views}.json", dict(detection=SHAPES).get(task, SEGMENTOR)
        more = ["--tta", "--limit", 2] if views else []
        arguments = ["--out", out, "--work-dir", out.with_suffix(""), *more]
        run("test", config, work_dirs[task], *arguments, *flags(task, data_root))
        return json.loads(out.read_text())

    return results


def mixed(pictures) -> list:
    """Images of several sizes, some of them twice, so that batches hold both."""
    return [pictures[i] for i in (0, 1, 0, 2, 1, 3, 4, 5, 4, 2, 3, 5)]


@pytest.mark.parametrize(
    ("batch_size", "views"), [(1, False), (5, False), pytest.param(2, True, marks=pytest.mark.slow)]
)
def test_boxes_and_masks_of_every_image(views, batch_size, work_dirs, pictures, tested, data_root):
    model = load(work_dirs["detection"], device="cpu")
    truth = json.loads((data_root / "mini/annotations/instances_val.json").read_text())
    ids = {image["file_name"]: image["id"] for image in truth["images"]}
    images = pictures[:2] if views else mixed(pictures)
    results = list(model.predict(images, batch_size=batch_size, threshold=0, tta=views))
    assert [result.source.name for result in results] == [path.name for path in images]
    for result in results:
        expected = [
            row for row in tested("detection", views) if row["image_id"] == ids[result.source.name]
        ]
        assert len(result) == len(expected) > 0
        boxes = np.array([row["bbox"] for row in expected])
        boxes[:, 2:] += boxes[:, :2]
        np.testing.assert_allclose(result.boxes, boxes, atol=1e-4)
        np.testing.assert_allclose(result.scores, [row["score"] for row in expected], atol=1e-4)
        categories = [{c["id"]: c["name"] for c in truth["categories"]}[row["category_id"]]
                      for row in expected]  # fmt: skip
        assert result.names == categories
        masks = np.stack([mask_api.decode(row["segmentation"]) for row in expected])
        assert result.masks.shape == masks.shape and result.masks.dtype == bool
        assert (result.masks != masks).mean() <= 1e-4


@pytest.mark.parametrize("views", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("probabilities", [False, True])
def test_labels_of_every_image(views, probabilities, work_dirs, pictures, tested):
    model = load(work_dirs["segmentation"], device="cpu")
    options = dict(batch_size=5, tta=views, probabilities=probabilities)
    rows = {Path(row["img_path"]).name: row for row in tested("segmentation", views)}
    images = pictures[:2] if views else mixed(pictures)[:6]
    for result in model.predict(images, **options):
        png = base64.b64decode(rows[result.source.name]["labels"])
        expected = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
        assert (result.label_map != expected).mean() <= 1e-4
        if probabilities:
            assert result.scores_map.shape == (len(model.classes), *expected.shape)
            np.testing.assert_allclose(result.scores_map.sum(axis=0), 1, atol=1e-5)
            assert (result.scores_map.argmax(axis=0) == result.label_map).all()
        else:
            assert result.scores_map is None


def test_an_image_is_the_same_in_every_form(work_dirs, pictures):
    model = load(work_dirs["detection"], device="cpu")
    with Image.open(pictures[0]) as image:
        image.load()
    rgb = np.array(image)
    forms = [pictures[0], str(pictures[0]), image, rgb, [rgb], (one for one in [rgb])]
    found = [next(model.predict(form, threshold=0)) for form in forms]
    found.append(model(rgb[..., ::-1], threshold=0, bgr=True))
    for result in found[1:]:
        np.testing.assert_allclose(result.boxes, found[0].boxes, atol=1e-4)
    (other,) = model.predict(rgb[..., ::-1], threshold=0)  # the wrong order is seen
    assert np.abs(other.scores - found[0].scores).max() > 1e-3


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_one_tile_is_the_whole_image_and_several_cover_it(task, work_dirs, pictures):
    model = load(work_dirs[task], device="cpu")
    (whole,) = model.predict(pictures[0], threshold=0)
    (tiled,) = model.predict(pictures[0], threshold=0, tile=512)
    assert tiled.to_dict() == whole.to_dict()
    options = dict(tile=128, batch_size=3, probabilities=task == "segmentation")
    (tiled,) = model.predict(pictures[0], threshold=0, **options)
    assert tiled.size == whole.size and tiled.to_dict() != whole.to_dict()
    if task == "segmentation":
        assert tiled.label_map.shape == whole.label_map.shape
        assert (tiled.scores_map.argmax(axis=0) == tiled.label_map).all()
    with pytest.raises(UserError, match="overlap"):
        model.predict(pictures[0], tile=128, overlap=1.5)
