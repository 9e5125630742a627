"""Results in every format, compared with the libraries that read these formats."""

import csv
import json

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools import mask as mask_api
from pycocotools.coco import COCO

from convnext_dense.errors import UserError
from convnext_dense.inference.base_result import Legend
from convnext_dense.inference.instances import Instances
from convnext_dense.inference.output.formats import FORMATS, open_writer
from convnext_dense.inference.output.outlines import outlines
from convnext_dense.inference.output.videos import writing_video
from convnext_dense.inference.results import (
    ClassificationResult,
    DetectionResult,
    SegmentationResult,
)
from convnext_dense.inference.sources import SourceImage

CLASSES = ("ant", 'bee "b"', "cat")
HEIGHT, WIDTH = 60, 80


def shapes() -> np.ndarray:
    """A disc, a rectangle, and two parts of one object, one of which has a hole."""
    masks = np.zeros((3, HEIGHT, WIDTH), np.uint8)
    cv2.circle(masks[0], (20, 20), 13, 1, -1)
    masks[1, 10:25, 50:70] = 1
    masks[2, 40:50, 5:25] = 1
    masks[2, 38:58, 40:70] = 1
    masks[2, 45:48, 50:55] = 0
    return masks


def source(**more) -> SourceImage:
    pixels = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return SourceImage(pixels, "street.png", **more)


def detection(masks: bool = True, **more) -> DetectionResult:
    rles = [mask_api.encode(np.asfortranarray(mask)) for mask in shapes()]
    boxes = np.array([[7, 7, 34, 34], [50, 10, 70, 25], [5, 38, 70, 58]], np.float32)
    scores = np.array([0.9, 0.75, 0.5], np.float32)
    instances = Instances(boxes, scores, np.array([2, 0, 1]), rles if masks else None)
    return DetectionResult(source(**more), Legend(CLASSES), instances)


def segmentation(**more) -> SegmentationResult:
    labels = np.zeros((HEIGHT, WIDTH), np.int64)
    labels[shapes()[1] == 1], labels[shapes()[2] == 1] = 1, 2
    scores = np.eye(3, dtype=np.float32)[labels].transpose(2, 0, 1) * 0.5 + 1 / 6
    return SegmentationResult(source(**more), Legend(CLASSES), labels, scores)


def classification() -> ClassificationResult:
    return ClassificationResult(source(), Legend(CLASSES), np.array([0.2, 0.7, 0.1], np.float32))


EMPTY = Instances(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, int), [])


def raster(polygons: list) -> np.ndarray:
    """The mask of polygons, as pycocotools fills them."""
    rles = mask_api.frPyObjects([np.ravel(p).tolist() for p in polygons], HEIGHT, WIDTH)
    return mask_api.decode(mask_api.merge(rles)).astype(bool)


def test_outlines_cover_the_masks():
    for mask, parts in zip(shapes(), (1, 1, 2), strict=True):
        filled = mask.copy()
        filled[45:48, 50:55] |= mask[44, 50]  # polygons know no holes
        found = outlines(mask)
        assert len(found) == parts
        covered = raster(found)
        assert (covered & (filled > 0)).sum() / (covered | (filled > 0)).sum() > 0.96
    np.testing.assert_array_equal(raster(outlines(shapes()[1])), shapes()[1])
    one = np.zeros((5, 5), bool)
    one[2, 3] = True
    assert {tuple(p) for p in outlines(one)[0].tolist()} == {(3, 2), (4, 2), (4, 3), (3, 3)}
    assert outlines(np.zeros((5, 5), bool)) == []


def test_a_detection_as_arrays():
    result = detection()
    assert len(result) == 3 and result.names == ["cat", "ant", 'bee "b"']
    assert result.masks.dtype == bool and (result.masks == shapes().astype(bool)).all()
    assert (result.mask(2) == result.masks[2]).all()
    assert detection(masks=False).masks is None
    empty = DetectionResult(source(), Legend(CLASSES), EMPTY)
    assert empty.masks.shape == (0, HEIGHT, WIDTH) and empty.to_dict()["detections"] == []
    content = json.loads(json.dumps(result.to_dict()))
    assert content["file_name"] == "street.png" and "frame" not in content
    (first, *_) = content["detections"]
    assert first["class"] == "cat" and first["bbox"] == [7, 7, 34, 34]
    assert (mask_api.decode(first["segmentation"]) == shapes()[0]).all()
    frame = detection(frame=12, seconds=1.25).to_dict()
    assert (frame["frame"], frame["seconds"]) == (12, 1.25)


def test_a_segmentation_and_a_classification_as_numbers():
    shares = segmentation().to_dict()["shares"]
    assert list(shares) == ["ant", "cat", 'bee "b"'] and sum(shares.values()) == pytest.approx(1)
    assert shares['bee "b"'] == pytest.approx(300 / (HEIGHT * WIDTH))
    result = classification()
    assert (result.label, result.name) == (1, 'bee "b"')
    assert result.top(2) == [('bee "b"', pytest.approx(0.7)), ("ant", pytest.approx(0.2))]
    with pytest.raises(UserError, match="has no boxes"):
        result.to_coco(1)


@pytest.mark.parametrize("make", [detection, segmentation, classification])
def test_drawings_are_copies_that_differ(make, tmp_path):
    result = make()
    before = result.image.copy()
    drawn = result.draw()
    assert drawn.shape == before.shape and drawn.dtype == np.uint8
    assert (drawn != before).any() and (result.image == before).all()
    path = result.save(tmp_path / "new")
    assert path == tmp_path / "new/street.jpg" and path.is_file()
    own = make()
    object.__setattr__(own, "source", SourceImage(before, "a.jpg", str(tmp_path / "a.jpg")))
    with pytest.raises(UserError, match="would overwrite the image itself"):
        own.save(tmp_path)


def test_the_colour_of_a_box_is_its_class_and_in_rgb():
    result = detection(masks=False)
    red = DetectionResult(
        SourceImage(np.zeros((HEIGHT, WIDTH, 3), np.uint8), "a"),
        Legend(CLASSES, [(0, 0, 255), (0, 255, 0), (255, 0, 0)]),
        result.instances,
    ).draw()
    assert red[18, 7].tolist() == [255, 0, 0] and red[18, 70].tolist() == [0, 0, 255]


def test_files_of_a_segmentation(tmp_path):
    result = segmentation()
    result.save(tmp_path)
    with Image.open(tmp_path / "street_labels.png") as labels:
        assert labels.mode == "L" and (np.asarray(labels) == result.label_map).all()
    with np.load(tmp_path / "street_probabilities.npz") as stored:
        assert stored["probabilities"].dtype == np.float16
        np.testing.assert_allclose(stored["probabilities"], result.scores_map, atol=1e-3)
        assert tuple(stored["classes"]) == CLASSES
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "street.jpg", "street_labels.png", "street_probabilities.npz",
    ]  # fmt: skip
    many = SegmentationResult(source(), Legend(tuple(map(str, range(300)))), result.label_map + 290)
    many.write_files(tmp_path / "many")
    assert (cv2.imread(str(tmp_path / "many_labels.png"), -1) == many.label_map).all()


def write(name: str, folder, results, task: str = "detection") -> None:
    with open_writer(name, folder, CLASSES, task) as writer:
        for number, result in enumerate(results):
            writer.add(result, f"street_{number}")


def test_coco_files_are_read_by_pycocotools(tmp_path):
    write("coco", tmp_path, [detection(), detection(masks=False), segmentation()])
    coco = COCO(tmp_path / "annotations.json")
    assert [one["id"] for one in coco.loadImgs(coco.getImgIds())] == [1, 2, 3]
    assert coco.loadImgs(1)[0] == dict(id=1, file_name="street.png", width=WIDTH, height=HEIGHT)
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == list(CLASSES)
    assert coco.getCatIds() == [1, 2, 3]
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=1))
    assert [a["category_id"] for a in annotations] == [3, 1, 2]
    for annotation, mask in zip(annotations, shapes(), strict=True):
        found = coco.annToMask(annotation) > 0
        assert (found & (mask > 0)).sum() / (found | (mask > 0)).sum() > 0.93
        assert annotation["area"] == mask.sum() and annotation["iscrowd"] == 0
    assert annotations[0]["bbox"] == [7, 7, 27, 27] and annotations[0]["score"] == pytest.approx(
        0.9
    )
    boxes = coco.loadAnns(coco.getAnnIds(imgIds=2))
    assert [a["segmentation"] for a in boxes] == [[]] * 3 and boxes[1]["area"] == 20 * 15
    areas = coco.loadAnns(coco.getAnnIds(imgIds=3))
    assert [a["category_id"] for a in areas] == [1, 2, 3] and "score" not in areas[0]
    assert len({a["id"] for a in coco.anns.values()}) == 9


def test_labelme_files_lead_to_the_image(tmp_path):
    path = tmp_path / "in/street.png"
    path.parent.mkdir()
    write("labelme", tmp_path, [detection(path=str(path)), detection(masks=False)])
    content = json.loads((tmp_path / "street_0.json").read_text())
    assert content["imagePath"] == "in/street.png" and content["imageData"] is None
    assert (content["imageHeight"], content["imageWidth"]) == (HEIGHT, WIDTH)
    kinds = [(s["label"], s["shape_type"], s["group_id"]) for s in content["shapes"]]
    assert kinds == [("cat", "polygon", None), ("ant", "polygon", None),
                     ('bee "b"', "polygon", 2), ('bee "b"', "polygon", 2)]  # fmt: skip
    np.testing.assert_array_equal(raster([content["shapes"][1]["points"]]), shapes()[1])
    (first, *_) = json.loads((tmp_path / "street_1.json").read_text())["shapes"]
    assert first["shape_type"] == "rectangle" and first["points"] == [[7, 7], [34, 34]]


def test_yolo_files(tmp_path):
    write("yolo", tmp_path, [detection(), detection(masks=False)])
    lines = (tmp_path / "labels/street_0.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["2", "0", "1"]
    points = np.array(lines[1].split()[1:], float).reshape(-1, 2) * (WIDTH, HEIGHT)
    np.testing.assert_array_equal(raster([points]), shapes()[1])
    boxes = [line.split() for line in (tmp_path / "labels/street_1.txt").read_text().splitlines()]
    np.testing.assert_allclose(np.array(boxes[1][1:], float), [0.75, 17.5 / 60, 0.25, 0.25], 1e-4)
    names = yaml.safe_load((tmp_path / "data.yaml").read_text())["names"]
    assert names == dict(enumerate(CLASSES))


@pytest.mark.parametrize(
    ("make", "task", "columns"),
    [
        (detection, "detection", ["class", "score", "left", "top", "right", "bottom"]),
        (segmentation, "segmentation", ["class", "share"]),
        (classification, "classification", ["rank", "class", "probability"]),
    ],
)
def test_csv_files(make, task, columns, tmp_path):
    write("csv", tmp_path, [make(), make()], task)
    with (tmp_path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 and {"file_name", "frame", "seconds", *columns} <= set(rows[0])
    assert 'bee "b"' in [row["class"] for row in rows]


def test_a_classification_has_no_annotations(tmp_path):
    for name in set(FORMATS) - {"json", "csv"}:
        with pytest.raises(UserError, match="use json or csv"):
            open_writer(name, tmp_path, CLASSES, "classification")


def test_what_was_found_before_an_error_is_in_a_whole_file(tmp_path):
    with pytest.raises(ZeroDivisionError), open_writer("json", tmp_path, CLASSES, "") as writer:
        writer.add(detection(), "a")
        raise ZeroDivisionError
    assert len(json.loads((tmp_path / "predictions.json").read_text())) == 1


def test_a_video_has_its_name_when_it_is_whole(tmp_path):
    frame = np.full((48, 64, 3), (200, 30, 30), np.uint8)
    path = tmp_path / "out.mp4"
    with pytest.raises(ZeroDivisionError), writing_video(path, 10) as video:
        video.add(frame)
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with writing_video(path, 10) as video:
        for _ in range(5):
            video.add(frame)
        assert not path.exists()
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 5 and capture.get(cv2.CAP_PROP_FPS) == 10
    assert capture.read()[1].mean(axis=(0, 1)).argmax() == 2  # red, in OpenCV's order
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]


def test_supervision_takes_it_over():
    pytest.importorskip("supervision", reason="optional package")
    found = detection().to_supervision()
    assert len(found) == 3 and found.data["class_name"].tolist() == ["cat", "ant", 'bee "b"']
    assert (found.mask == shapes().astype(bool)).all()
    assert found.class_id.tolist() == [2, 0, 1]
    assert len(DetectionResult(source(), Legend(CLASSES), EMPTY).to_supervision()) == 0


def test_supervision_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "supervision", None)
    with pytest.raises(UserError, match="pip install supervision"):
        detection().to_supervision()
