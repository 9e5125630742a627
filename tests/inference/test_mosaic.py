"""The demo's model on a mosaic of 64 images: tiles find what the single images show.

The demo is trained for this, 10 minutes on two cores. ``CONVNEXT_DENSE_DEMO`` names the work folder
of one that was trained before.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as mask_api

from convnext_dense.data.shapes.dataset import prepare_shapes
from tests.inference.mosaic import write_mosaic
from tests.miniature import SHAPES
from tests.running import ROOT

TILE = ("--tile", "320", "--overlap", "0.25")
AS_IT_IS = "test_dataloader.dataset.pipeline.1.scale=(320,320)"  # of the Resize: tiles keep theirs
OBJECTS = 232


def tool(name: str, *arguments) -> None:
    words = [sys.executable, ROOT / f"tools/{name}.py", SHAPES, *arguments]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


@pytest.fixture(scope="module")
def tested(tmp_path_factory) -> Path:
    """Folders ``single``, ``plain`` and ``tiles`` of tests, each with its results."""
    folder = tmp_path_factory.mktemp("mosaic")
    shapes = prepare_shapes(folder)
    write_mosaic(shapes, folder / "mosaic")
    model = os.environ.get("CONVNEXT_DENSE_DEMO")
    if model is None:
        model = folder / "demo"
        tool("train", "--data-root", folder, "--seed", 0, "--work-dir", model)
    for name, data, *flags in (
        ("single", "shapes", "--limit", 64),
        ("plain", "mosaic"),
        ("tiles", "mosaic", *TILE),
    ):
        out = ["--work-dir", folder / name, "--out", folder / name / "results.json"]
        options = ["--cfg-options", f"test_dataloader.dataset.data_root={data}/"]
        options += [AS_IT_IS] if name == "tiles" else []
        tool("test", model, "--data-root", folder, *out, *flags, *options)
    return folder


def figures(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def found(folder: Path, task: str) -> tuple[float, int]:
    """Recall at IoU 0.5 and a score of 0.3, and how many detections cover a found object again."""
    data = "mosaic" if folder.name != "single" else "shapes"
    file = folder.parent / data / "annotations/instances_val.json"
    truth = json.loads(file.read_text())["annotations"]
    results = [r for r in json.loads((folder / "results.json").read_text()) if r["score"] >= 0.3]
    hits, objects, doubles = 0, 0, 0
    for image in range(1, 65) if data == "shapes" else [1]:
        mine = [a for a in truth if a["image_id"] == image]
        theirs = [r for r in results if r["image_id"] == image]
        objects += len(mine)
        if not mine or not theirs:
            continue
        if task == "bbox":
            shapes = [np.array([one["bbox"] for one in some], float) for some in (theirs, mine)]
        else:
            shapes = [
                [mask_api.frPyObjects(rle, *rle["size"]) if isinstance(rle["counts"], list) else rle
                 for rle in (one["segmentation"] for one in some)]
                for some in (theirs, mine)
            ]  # fmt: skip
        same = np.array([[r["category_id"] == a["category_id"] for a in mine] for r in theirs])
        matches = (mask_api.iou(*shapes, [0] * len(mine)) >= 0.5) & same
        hits += int(matches.any(axis=0).sum())
        doubles += sum(count - 1 for count in matches.sum(axis=0) if count > 1)
    assert objects == OBJECTS
    return hits / objects, int(doubles)


@pytest.mark.slow
def test_tiles_find_what_the_single_images_show(tested):
    single, plain, tiles = (figures(tested / name) for name in ("single", "plain", "tiles"))
    for task in ("bbox", "segm"):
        assert plain[f"{task}_mAP"] < 0.1 < 0.4 < single[f"{task}_mAP"]
        assert tiles[f"{task}_mAP"] >= single[f"{task}_mAP"] - 0.03
        recall, doubles = found(tested / "tiles", task)
        assert recall >= found(tested / "single", task)[0] - 0.03
        # The model has a few of its own, within one tile: box IoU below its NMS's 0.5.
        assert doubles <= OBJECTS // 100
