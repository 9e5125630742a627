"""Odd images in tools/predict.py and tools/test.py: a right result, or a sentence."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convnext_dense.cli.main import parse_tool
from convnext_dense.config.load import load_config
from convnext_dense.data.images import read_image, write_image
from convnext_dense.errors import UserError
from convnext_dense.predictor import Predictor
from tests.hostile import cases, files, harness

TOOLS = Path(__file__).parents[2] / "tools"
SIZES = [(50, 37), *files.THIN]


@pytest.fixture(scope="module")
def checkpoint(config, tmp_path_factory) -> dict[str, Path]:
    """An untrained checkpoint of each task with two classes."""
    folder, found = tmp_path_factory.mktemp("checkpoints"), {}
    for task, scope in (("detection", "mmdet"), ("segmentation", "mmseg")):
        cfg = load_config(config[task])
        heads = cfg.model.roi_head if task == "detection" else cfg.model
        for name in ("bbox_head", "mask_head", "decode_head", "auxiliary_head"):
            if name in heads:
                heads[name].num_classes = 2
        harness.init_default_scope(scope)
        model, _ = harness.build(cfg)
        meta = dict(dataset_meta=dict(classes=("ant", "bee")))
        torch.save(dict(state_dict=model.state_dict(), meta=meta), folder / f"{task}.pth")
        found[task] = folder / f"{task}.pth"
    return found


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_every_picture_has_a_result_of_its_size_or_a_sentence(task, config, checkpoint, tmp_path):
    predictor = Predictor(config[task], checkpoint[task], device="cpu", score_threshold=0.0)
    whole = {}
    for number, (kind, size) in enumerate(
        [(kind, SIZES[0]) for kind in files.WHOLE] + [("png", size) for size in SIZES]
    ):
        path = tmp_path / f"{number}.{kind.split()[-1]}"
        path.write_bytes(files.encode(kind, *size, 7))
        with harness.judged("prediction") as found:
            image = read_image(path)
            sample = predictor(image)
            whole[kind, size] = predictor.describe(sample)
            assert json.dumps(whole[kind, size])
            drawn = predictor.draw(image, sample)
            predictor.write_files(sample, tmp_path / str(number))
            write_image(tmp_path / "overlay.jpg", drawn)
            assert image.shape == drawn.shape
            assert (image.shape[1], image.shape[0]) == files.shown_size(kind, size)
        assert found == ["trained"] or kind == "float tif" or min(size) <= 3, found
    assert len(whole) >= len(files.WHOLE) - 1
    # of 16 bits the upper 8, whatever the file
    grey = files.encode("16 bit png", *SIZES[0], 7)
    (tmp_path / "sixteen.png").write_bytes(grey)
    with Image.open(tmp_path / "sixteen.png") as image:
        eight = np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    assert predictor.describe(predictor(eight)) == whole["16 bit png", SIZES[0]]
    assert whole["16 bit tif", SIZES[0]] == whole["16 bit png", SIZES[0]]


def run(monkeypatch, tool: str, *arguments) -> None:
    monkeypatch.setattr(sys, "argv", [tool, *map(str, arguments)])
    command, args = parse_tool(tool)
    with harness.alarm(120):
        command.run(args)


@pytest.mark.slow
@pytest.mark.parametrize("views", [(), ("--tta",)], ids=["", "tta"])
def test_the_test_tool_takes_every_kind(views, config, checkpoint, tmp_path, monkeypatch):
    picture = dict(cases.VALID["pictures"][0])
    kinds = [kind for kind in files.WHOLE if kind != "float tif"]
    case = dict(cases.VALID, shape="polygon", pictures=[dict(picture, kind=k) for k in kinds])
    cases.write_coco(case, tmp_path / "mini")
    arguments = (config["detection"], checkpoint["detection"], "--data-root", tmp_path, *views)
    folders = ("--work-dir", tmp_path / "w", "--show-dir", tmp_path / "shown")
    run(monkeypatch, "test", *arguments, *folders, "--out", tmp_path / "o.json")
    assert {one["image_id"] for one in json.loads((tmp_path / "o.json").read_text())} == set(
        range(1, 1 + len(kinds))
    )
    # a thin one among them
    case["pictures"].append(dict(picture, kind="png", size=(700, 1), annotations=[]))
    cases.write_coco(case, tmp_path / "again/mini")
    arguments = (*arguments[:3], tmp_path / "again", *views, "--work-dir", tmp_path / "v")
    with pytest.raises(UserError, match=r"a.jpg cannot be resized .* too thin"):
        run(monkeypatch, "test", *arguments)


@pytest.mark.parametrize("how", ["truncated", pytest.param("text", marks=pytest.mark.slow)])
def test_the_training_tool_names_the_picture(how, config, tmp_path, monkeypatch):
    case = dict(cases.VALID, shape="polygon")
    case["pictures"] = [dict(one, damage=how) for one in case["pictures"]]
    cases.write_coco(case, tmp_path / "mini")
    monkeypatch.setattr("convnext_dense.cli.train.check_data", lambda *_: {})  # see too late
    options = "train_dataloader.num_workers=1", "train_dataloader.persistent_workers=True"
    with pytest.raises(UserError) as caught:
        run(
            monkeypatch, "train", config["detection"], "--data-root", tmp_path, "--max-iters", 1,
            "--work-dir", tmp_path / "w", "--cfg-options", *options,
        )  # fmt: skip
    assert harness.sentence(caught.value).startswith(f"{tmp_path}/mini/images/")
