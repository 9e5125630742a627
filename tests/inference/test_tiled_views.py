"""From ``test --tile`` to the evaluators' figures."""

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from convnext_dense.config.load import load_config
from convnext_dense.detection.tta import make_view
from convnext_dense.errors import UserError
from convnext_dense.inference.tiles import cut
from convnext_dense.inference.trained.tiled_views import (
    DetectionTiles,
    SegmentationTiles,
    use_tiles,
)
from tests.detection.conftest import build_detector, picture
from tests.miniature import COCO, SHAPES
from tests.running import run

RESIZE = dict(type="Resize", scale=(256, 192), keep_ratio=True)


def test_the_config_of_a_test_in_tiles():
    cfg = load_config(COCO)
    use_tiles(cfg, 800, 0.2, whole=False, draw=False)
    kinds = [step.type for step in cfg.test_dataloader.dataset.pipeline]
    assert kinds == ["LoadImage", "PackDetInputs"]
    assert cfg.test_cfg.views.resize.scale == (1333, 800)
    assert "convnext_dense.inference.trained.tiled_views" in cfg.custom_imports.imports


@pytest.mark.parametrize(
    ("change", "arguments", "said"),
    [
        (None, (16, 0.2, False, False), "at least 32 pixels"),
        (None, (64, 0.2, False, True), "--show-dir"),
        ("Resize", (64, 0.2, False, False), "--tile replaces the one Resize"),
    ],
)
def test_refused(change, arguments, said):
    cfg = load_config(SHAPES)
    dataset = cfg.test_dataloader.dataset
    dataset.pipeline = [step for step in dataset.pipeline if step.type != change]
    with pytest.raises(UserError, match=said):
        use_tiles(cfg, *arguments)


def test_classifiers_have_no_tiles():
    with pytest.raises(UserError, match="not for classification"):
        use_tiles(Config(dict(default_scope="mmengine")), 64, 0.2, False, False)


@pytest.mark.parametrize("masks", [True, False])
def test_an_image_of_one_tile_is_the_plain_test(masks):
    model = build_detector("cascade", masks)
    image = torch.from_numpy(picture()).permute(2, 0, 1)
    views = DetectionTiles(200, 0.2, RESIZE, whole=False)
    view, sample = make_view(image, views.resize, flip=False)
    (plain,) = model.test_step(dict(inputs=[view], data_samples=[sample]))
    _, sample = make_view(image, views.resize, flip=False)
    (tiled,) = views.predict(model, dict(inputs=[image], data_samples=[sample]))
    found, expected = tiled.pred_instances, plain.pred_instances
    for name in ("bboxes", "scores", "labels"):
        assert torch.equal(found[name], expected[name])
    if masks:
        from convnext_dense.detection.rle import encode_masks

        assert found.masks == encode_masks(expected.masks) and len(found.masks) > 3
    assert views.facts["tiles"] == 1


def test_a_segmentor_averages_its_probabilities():
    """Each tile is a plain test of it, also where the model leaves scores out."""

    class Network(torch.nn.Module):
        test_cfg = dict(keep_scores=False)
        decode_head = torch.nn.Identity()

        def test_step(self, data):
            assert self.test_cfg["keep_scores"]
            (sample,), (inputs,) = data["data_samples"], data["inputs"]
            height, width = sample.ori_shape
            assert tuple(inputs.shape[1:]) == sample.img_shape == (64, 64)
            logits = inputs[:2].float().reshape(2, 32, 2, 32, 2).mean(dim=(2, 4))
            return [SegDataSample(seg_logits=PixelData(data=logits[:, :height, :width]))]

    image = torch.zeros(3, 50, 70, dtype=torch.uint8)
    image[0, :, :31] = 200
    image[1, :, 31:] = 200
    views = SegmentationTiles(32, 0.2, dict(scale=(64, 64), keep_ratio=True), whole=False)
    (sample,) = views.predict(Network(), dict(inputs=[image], data_samples=[SegDataSample()]))
    labels = sample.pred_sem_seg.data
    assert labels.shape == (1, 50, 70) and labels.dtype == torch.uint8
    np.testing.assert_array_equal(labels[0].numpy(), np.tile(np.arange(70) >= 31, (50, 1)))


@pytest.mark.slow
@pytest.mark.parametrize("task", ["segmentation", "detection"])
def test_the_command(task, data_root, tmp_path):
    """A checkpoint of an untrained model; two images in tiles of 128."""
    name = {"detection": "cascade_convnext_a_shapes", "segmentation": "upernet_convnext_a_shapes"}
    config = SHAPES.parents[1] / task / f"{name[task]}.py"
    options = [f"{split}_dataloader.dataset.data_root=mini/" for split in ("train", "val", "test")]
    common = ["--data-root", data_root, "--cfg-options", *options]
    run("train", config, "--work-dir", tmp_path / "run", "--max-iters", 1, *common)
    where = [config, tmp_path / "run", "--limit", 2, *common]
    out = ["--work-dir", tmp_path / "test", "--out", tmp_path / "out.json"]
    run("test", *where, *out, "--tile", 128, "--overlap", "0.25", "--whole")
    metrics = json.loads((tmp_path / "test/metrics.json").read_text())
    assert (metrics["tile"], metrics["overlap"], metrics["whole"]) == (128, 0.25, True)
    truth = json.loads((data_root / "mini/annotations/instances_val.json").read_text())
    sizes = [(image["height"], image["width"]) for image in truth["images"][:2]]
    assert metrics["tiles"] == sum(len(cut(size, 128, 0.25)) for size in sizes) > 2
    assert metrics["seconds_per_image"] > 0
    rows = json.loads((tmp_path / "out.json").read_text())
    if task == "detection":
        assert {tuple(row["segmentation"]["size"]) for row in rows} == set(sizes)
        assert len({row["image_id"] for row in rows}) == 2
    else:
        assert len(rows) == 2 and metrics["aAcc"] > 0
    run("test", *where, "--work-dir", tmp_path / "x", "--tile", 128, "--tta", code=2)
