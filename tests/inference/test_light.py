"""Predictions without torch, a toolbox, pycocotools or Pillow: numpy and OpenCV are enough."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_api
from pycocotools.coco import COCO

from convnext_dense.errors import UserError
from convnext_dense.inference.model import load

ROOT = Path(__file__).parents[2]
LIBRARIES = ("torch", "torchvision", "mmengine", "mmcv", "mmdet", "mmseg", "timm", "pycocotools",
             "rich", "scipy")  # fmt: skip
DRAWING = ("PIL", "matplotlib")
WORK = "import runpy; runpy.run_module('tests.inference.light_work', run_name='__main__')"
# A machine on which libraries are not installed.
REFUSING = """
import sys

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {refused}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refusing())
"""
BOXES = [  # of each image: left, top, right, bottom
    [(10, 12, 40, 30), (50, 60, 130, 90)],
    [(0, 0, 9, 100), (100, 20, 180, 21)],
    [(5, 5, 175, 115)],
]


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> dict[str, tuple[Path, dict, str]]:
    """``without`` libraries and ``with`` them -> the folder, what was found, stderr."""
    found = {}
    refusing = REFUSING.format(refused=LIBRARIES + DRAWING)
    for name, before, more in (("without", refusing, ["refusal"]), ("with", "", [])):
        folder = tmp_path_factory.mktemp(name)
        (folder / "images").mkdir()
        for number, boxes in enumerate(BOXES):
            image = np.full((100 + 10 * number, 180, 3), 20, np.uint8)
            for left, top, right, bottom in boxes:
                image[top:bottom, left:right] = (150, 200, 250)
            cv2.imwrite(str(folder / f"images/{number}.png"), image)
        words = [sys.executable, "-c", before + WORK, str(folder), *more]
        done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        found[name] = folder, json.loads(done.stdout), done.stderr
    return found


def truth(number: int) -> dict[tuple[int, ...], np.ndarray]:
    """Box -> mask of the objects of an image."""
    found = {}
    for left, top, right, bottom in BOXES[number]:
        mask = np.zeros((100 + 10 * number, 180), np.uint8)
        mask[top:bottom, left:right] = 1
        found[left, top, right, bottom] = mask
    return found


def test_nothing_but_numpy_and_opencv_is_imported(ran):
    _, found, said = ran["without"]
    others = set(found["imported"]) - set(sys.stdlib_module_names) - {"__main__", "__mp_main__"}
    words = [
        sys.executable,
        "-c",
        "import sys; print(*{name.split('.')[0] for name in sys.modules})",
    ]
    bare = subprocess.run(words, capture_output=True, text=True, check=True)  # such as .pth files'
    others -= set(bare.stdout.split()) - {"numpy", "cv2"}
    assert others == {"convnext_dense", "cv2", "numpy", "tests"}
    assert said.count("Drawings have no names, which need packages: pip install pillow") == 1


def test_torch_stays_outside_where_it_is_installed(ran):
    _, found, said = ran["with"]
    assert set(found["imported"]) & set(LIBRARIES) == set()
    assert set(DRAWING) <= set(found["imported"]) and not said


@pytest.mark.parametrize("kind", ["whole", "tiled"])
def test_what_is_found_is_what_was_drawn(ran, kind):
    _, found, _ = ran["without"]
    for number, image in enumerate(found["detection"][kind]):
        masks = {tuple(one["bbox"]): one["segmentation"] for one in image["detections"]}
        assert set(masks) == set(truth(number)) and len(masks) == len(image["detections"])
        for box, mask in truth(number).items():
            np.testing.assert_array_equal(mask_api.decode(masks[box]), mask)
    for number, image in enumerate(found["segmentation"][kind]):
        share = sum(mask.mean() for mask in truth(number).values())
        assert image["shares"]["bright"] == pytest.approx(share)


def test_with_torch_the_results_are_the_same(ran):
    (_, alone, _), (_, beside, _) = ran["without"], ran["with"]
    for part in ("detection", "segmentation", "frames"):
        assert alone[part] == beside[part]
    assert alone["frames"] == [0, 1, 2, 3]
    assert alone["detection"]["array"] == {**alone["detection"]["whole"][0], "file_name": "image_0"}


def test_what_is_written(ran):
    folder, found, _ = ran["without"]
    entries = json.loads((folder / "detection/json/predictions.json").read_text())
    assert entries == found["detection"]["whole"]
    coco = COCO(folder / "detection/coco/annotations.json")
    for number, boxes in enumerate(BOXES):
        areas = sorted(one["area"] for one in coco.imgToAnns[number + 1])
        assert areas == sorted(float((r - le) * (b - t)) for le, t, r, b in boxes)
        lines = (folder / f"detection/yolo/labels/{number}.txt").read_text().splitlines()
        assert len(lines) == len(boxes) and all(line.startswith("1 ") for line in lines)
    labels = cv2.imread(str(folder / "segmentation/0_labels.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(labels, sum(truth(0).values()))
    drawn = cv2.imread(str(folder / "detection/0.jpg")).astype(int)
    assert drawn.shape == (100, 180, 3) and np.abs(drawn[13, 10] - (150, 200, 250)).max() > 60
    assert cv2.VideoCapture(str(folder / "drawn.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 4


def test_other_models_say_what_they_need(ran):
    _, found, _ = ran["without"]
    assert found["refusal"] == (
        "a.pth is not the folder of an exported model, and other models need the package torch, "
        "which is not installed."
    )


def test_the_folder_of_an_exported_model_goes_to_its_reader(tmp_path, monkeypatch):
    reader = SimpleNamespace(load_exported=lambda folder, device: (folder, device))
    monkeypatch.setitem(sys.modules, "convnext_dense.exported.loading", reader)
    file = tmp_path / "model.json"
    file.write_text('{"format": "convnext_dense.export"}')
    assert load(str(tmp_path), device="cpu") == (tmp_path, "cpu")
    with pytest.raises(UserError, match="is an exported model, which has no config"):
        load(tmp_path, "a.py")
    file.write_text('{"format": ')
    with pytest.raises(UserError, match=r"model\.json cannot be read .*: export the model again"):
        load(tmp_path)
    file.write_text('{"format": "another"}')
    with pytest.raises(UserError, match="holds no checkpoint"):
        load(tmp_path)
