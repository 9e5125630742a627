"""Panoptic models from the command line to results: training, resume, test, prediction."""

import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS, init_default_scope

import convnext_dense as cd
from convnext_dense.data.check_images import build_dataset
from convnext_dense.data.fit import load_fitted_config
from convnext_dense.data.panoptic.segments import read_segments
from convnext_dense.errors import UserError
from convnext_dense.export.run import ExportFlags, export
from convnext_dense.hub import make_folder
from convnext_dense.inference.results import PanopticResult
from tests.exact import assert_same_checkpoints
from tests.panoptic.conftest import FPN, QUERIES
from tests.running import run

FIGURES = {f"{figure}{part}" for figure in ("PQ", "SQ", "RQ") for part in ("", "_th", "_st")}
BOTH = pytest.mark.parametrize("config", [FPN, QUERIES], ids=["fpn", "queries"])


def sized(*arguments):
    """A batch of two, evaluated once at the end."""
    return [*arguments, "--cfg-options", "train_dataloader.batch_size=2"]


@pytest.mark.slow
@BOTH
def test_every_parameter_gets_a_gradient(config, data_root, mini):
    cfg = load_fitted_config(config, data_root=data_root, cfg_options=mini)
    init_default_scope("mmdet")
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.train()
    dataset = build_dataset(cfg, cfg.train_dataloader.dataset)
    batch = model.data_preprocessor(pseudo_collate([dataset[0], dataset[1]]), training=True)
    losses, _ = model.parse_losses(model(**batch, mode="loss"))
    losses.backward()
    bare = [name for name, one in model.named_parameters() if one.grad is None]
    assert bare == []


@pytest.mark.slow
@BOTH
def test_train_test_and_predict(config, flags, rooms, tmp_path):
    work, out = tmp_path / "run", tmp_path / "test"
    score = [] if config == QUERIES else ["model.test_cfg.rcnn.score_thr=0.0"]
    text = run("train", config, *flags, "--work-dir", work, "--max-iters", 2, *sized(), *score)
    assert "PQ" in text
    metrics = json.loads((work / "metrics.json").read_text())
    assert {*metrics} >= FIGURES and set(metrics["per_class"]) >= {"circle", "background"}
    run(
        *("test", config, work),
        *("--work-dir", out, *flags[2:4], "--images", rooms / "images/val"),
        *("--labels", rooms / "segments/val", "--out", out / "results.json"),
        *("--show-dir", out / "drawn"),
        *(["--cfg-options", *score] if score else []),
    )
    tested = json.loads((out / "metrics.json").read_text())
    assert tested["PQ"] == pytest.approx(metrics["PQ"], abs=1e-6)
    assert len(list((out / "drawn").glob("*.jpg"))) == 6
    results = json.loads((out / "results.json").read_text())["annotations"]
    for entry in results:
        ids = set(np.unique(read_segments(out / "results" / entry["file_name"])).tolist())
        assert ids - {0} == {segment["id"] for segment in entry["segments_info"]}
    model = cd.load(work)
    image = rooms / "images/val/000001.jpg"
    result = model(image)
    assert isinstance(result, PanopticResult) and model.task == "panoptic"
    assert result.segment_map.shape == cv2.imread(str(image)).shape[:2]
    assert set(np.unique(result.segment_map).tolist()) - {0} == set(range(1, len(result) + 1))
    described = result.to_dict()["segments"]
    assert [one["area"] for one in described] == [
        int((result.segment_map == number).sum()) for number in range(1, len(result) + 1)
    ]
    assert result.draw().shape == (*result.size, 3)
    for options in (dict(tta=True), dict(tile=64), dict(probabilities=True)):
        with pytest.raises(UserError):
            model(image, **options)
    pushed = make_folder(work, "me/rooms", tmp_path / "pushed")
    assert np.array_equal(cd.load(pushed)(image).segment_map, result.segment_map)
    assert str(rooms) not in (pushed / "config.yaml").read_text()
    run("predict", work, image, "--out", tmp_path / "found", "--format", "csv")
    assert np.array_equal(read_segments(tmp_path / "found/000001_segments.png"), result.segment_map)
    refused = run("predict", work, image, image, "--out", tmp_path / "views", "--tta", code=2)
    assert "no rule says which segments of two views" in refused and "left out" not in refused
    assert not (tmp_path / "views").exists()
    refused = run("test", config, work, "--work-dir", out, "--tta", code=2)
    assert "views of an image cannot be merged for a panoptic model" in refused
    with pytest.raises(UserError, match="cannot be exported: how a panoptic model puts its segm"):
        export(ExportFlags(str(work), out=str(tmp_path / "exported")))
    assert not (tmp_path / "exported").exists()


@pytest.mark.slow
@BOTH
def test_a_resumed_run_is_the_same_bit_for_bit(config, flags, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    common = [*flags, "--epochs", 1, *sized()]
    run("train", config, "--work-dir", whole, *common)
    run("train", config, "--work-dir", parts, "--max-iters", 2, *common)
    run("train", config, "--work-dir", parts, "--resume", *common)
    assert_same_checkpoints(whole / "epoch_1.pth", parts / "epoch_1.pth")


@pytest.mark.slow
def test_a_part_for_validation(rooms, tmp_path):
    text = run(
        *("train", FPN, "--train-json", rooms / "train.json", "--images", rooms / "images/train"),
        *("--labels", rooms / "segments/train", "--split", 0.3, "--work-dir", tmp_path / "run"),
        *("--max-iters", 1),
    )
    assert "images for training and validation" in text
    sides = [json.loads((tmp_path / f"run/data/{s}.json").read_text()) for s in ("train", "val")]
    ids = [{image["id"] for image in side["images"]} for side in sides]
    assert not ids[0] & ids[1] and len(ids[0] | ids[1]) == 10 and ids[1]


@pytest.mark.slow
def test_browsing(flags, tmp_path):
    text = run("browse_data", FPN, *flags, "--out", tmp_path / "shown", "--number", 2)
    assert "segments" in text and (tmp_path / "shown/sheet.jpg").is_file()
