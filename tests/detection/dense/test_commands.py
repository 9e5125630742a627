"""Heads without RoIs through the commands: own data, from a training to a pushed model."""

import json

import pytest

import convnext_dense as cd
from convnext_dense.hub import make_folder
from tests.datasets.test_own_data import detection_flags
from tests.exact import assert_same_checkpoints
from tests.running import run

MASKS = ("rtmdet_ins", "mask2former_instance")
FIGURES = {"bbox_mAP", "bbox_mAP_ema"}


@pytest.mark.slow
@pytest.mark.parametrize("head", ["rtmdet", "dino", *MASKS])
def test_own_data_from_training_to_a_pushed_model(head, birds, tmp_path):
    work, again = tmp_path / "run", tmp_path / "again"
    flags = ["--seed", 1, "--max-iters", 4, "--freeze", 1, "--accumulate", 2, "--average-weights"]
    options = ["--cfg-options", "train_dataloader.batch_size=2", "model.backbone.with_cp=True",
               "default_hooks.checkpoint.interval=2"]  # fmt: skip
    if head.startswith("rtmdet"):
        options.append("model.test_cfg.score_thr=0.0")
    train = [f"{head}_convnext_a_shapes", *detection_flags(birds), *flags]
    page = run("train", *train, "--work-dir", work, *options, "--dry-run")
    assert "6" in page and not work.exists()
    run("train", *train, "--work-dir", work, *options)
    run("train", *train, "--work-dir", again, "--resume", work / "iter_2.pth", *options)
    assert_same_checkpoints(again / "iter_4.pth", work / "iter_4.pth")
    figures = json.loads((work / "metrics.json").read_text())
    assert figures.keys() >= FIGURES and ("segm_mAP" in figures) == (head in MASKS)

    config, out = next(work.glob("*.py")), tmp_path / "test"
    run("test", config, work, "--ema", "--work-dir", out, "--show-dir", out / "drawn")
    tested = json.loads((out / "metrics.json").read_text())
    assert tested["bbox_mAP"] == pytest.approx(figures["bbox_mAP_ema"], abs=1e-6)
    assert len(list((out / "drawn").glob("*.jpg"))) == 6
    images = sorted((birds / "images").glob("val_*.jpg"))[:2]
    run("predict", work, *images, "--out", tmp_path / "seen", "--threshold", 0)
    assert len(list((tmp_path / "seen").glob("*.jpg"))) == 2
    pushed = cd.load(make_folder(work, "me/birds", tmp_path / "pushed"), device="cpu")
    for ours, theirs in zip(
        cd.load(work, device="cpu").predict(images, threshold=0),
        pushed.predict(images, threshold=0),
        strict=True,
    ):
        assert len(ours) and ours.to_dict() == theirs.to_dict()
