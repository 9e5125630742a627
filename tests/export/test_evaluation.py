"""``test DIR``: exported models on data, with the figures and results of their checkpoints."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from convnext_dense.inference.instances import Instances
from tests.export.agreement import pair_rows
from tests.export.conftest import Exported
from tests.running import run

LOADER = {"num_workers": 0, "persistent_workers": False, "dataset.data_root": "mini/"}
OPTIONS = [f"test_dataloader.{name}={value}" for name, value in LOADER.items()]


def figures_of(model: list, data_root: Path, out: Path, *more) -> dict:
    """The figures of a test on the miniature data."""
    data = ["--data-root", data_root, "--work-dir", out, "--cfg-options", *OPTIONS]
    run("test", *model, *more, *data)
    return json.loads((out / "metrics.json").read_text())


def stored(model: Exported) -> list:
    """A checkpoint and the config that it was exported with."""
    return [model.folder / "config.json", model.trained.source]


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_segmentor_has_its_checkpoints_figures(segmentor, runtime, data_root, tmp_path):
    ours = figures_of(stored(segmentor), data_root, tmp_path / "torch")
    theirs = figures_of([segmentor.runtimes[runtime].source], data_root, tmp_path / "exported")
    assert ours["mIoU"] > 0.001 and theirs.keys() == ours.keys()
    for name in ("mIoU", "aAcc", "mAcc"):
        assert theirs[name] == pytest.approx(ours[name], abs=1e-3)


def test_a_detector_finds_what_its_checkpoint_finds(detector, data_root, tmp_path):
    found = {}
    for name, model in (("ours", stored(detector)), ("theirs", [detector.folder])):
        file = tmp_path / f"{name}.json"
        figures = figures_of(model, data_root, tmp_path / name, "--out", file, "--limit", 4)
        found[name] = json.loads(file.read_text()), figures
    (ours, figures), (theirs, others) = found["ours"], found["theirs"]
    assert figures.keys() == others.keys() and len(ours) > 10
    for key in {entry["image_id"] for entry in ours}:
        pair_rows(rows(ours, key), rows(theirs, key))


def rows(entries: list[dict], image: int) -> Instances:
    """The detections of an image."""
    chosen = [entry for entry in entries if entry["image_id"] == image]
    boxes, scores, labels = (
        np.array([entry[name] for entry in chosen]) for name in ("bbox", "score", "category_id")
    )
    return Instances(boxes, scores, labels, None)


def test_drawings_of_a_detector_that_finds_nothing_in_some(detector, data_root, tmp_path):
    drawn = tmp_path / "drawn"
    figures_of([detector.folder], data_root, tmp_path / "out", "--show-dir", drawn, "--limit", 3)
    made = sorted(drawn.rglob("*.jpg"))
    assert len(made) == 3 and all(cv2.imread(str(path)) is not None for path in made)


def test_own_data(detector, birds, tmp_path):
    flags = ["--val-json", birds / "val.json", "--images", birds / "images"]
    said = run("test", detector.folder, *flags, "--work-dir", tmp_path / "out", "--limit", 2)
    assert "bbox_mAP" in said and f"Tested: {detector.folder}" in said
    assert f"predict.py {detector.folder} " in said  # without a config


@pytest.mark.parametrize("flags, sentence", [
    (["--tta"], "is an exported model, which is tested on whole images as they are: leave --tta"),
    (["--tile", "64"], "leave --tile out, or test the checkpoint that it was exported from"),
])  # fmt: skip
def test_several_views_are_refused(detector, flags, sentence, tmp_path):
    said = run("test", detector.folder, *flags, "--work-dir", tmp_path / "out", code=2)
    assert sentence in said and not (tmp_path / "out").exists()


def test_a_folder_without_its_config(detector, tmp_path):
    folder = tmp_path / "bare"
    folder.mkdir()
    for name in ("model.json", "model.onnx"):
        (folder / name).symlink_to(detector.folder / name)
    said = run("test", folder, code=2)
    assert "holds no config of a run: name the config file itself" in said
