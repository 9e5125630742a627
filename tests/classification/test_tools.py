"""The classification tools as a user runs them: train, kill, resume, test, hand over."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import ConfigDict

from convnext_dense.data.decoding.unreadable import SkipUnreadableHook
from convnext_dense.data.fit import load_fitted_config
from convnext_dense.data.shapes.dataset import prepare_shapes
from convnext_dense.errors import UserError
from convnext_dense.runs.starting_weights import hand_over
from convnext_dense.weights import read_checkpoint
from tests.classification.conftest import CLASSES, ROOT, draw
from tests.exact import assert_equal
from tests.running import run

ENV = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def command(tool: str, *arguments) -> list[str]:
    return [sys.executable, str(ROOT / f"tools/{tool}.py"), *map(str, arguments)]


@pytest.fixture(scope="module")
def flags(data_root) -> list:
    return ["--data-root", data_root, "--accumulate", 2]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, config, flags) -> tuple[Path, str]:
    """Two epochs without a break, and what the tool printed."""
    work_dir = tmp_path_factory.mktemp("runs") / "whole"
    return work_dir, run("pretrain_cls", config, *flags, "--work-dir", work_dir, "--seed", 3)


@pytest.mark.parametrize(
    "seed", [pytest.param(["--seed", 3], marks=pytest.mark.slow, id="killed"), []]
)
def test_a_killed_run_goes_on_bit_for_bit(trained, config, flags, tmp_path, seed):
    whole, _ = trained
    arguments = [config, *flags, "--work-dir", tmp_path]
    if seed:  # killed with the second epoch under way
        process = subprocess.Popen(
            command("pretrain_cls", *arguments, *seed),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=ENV,
        )
        deadline = time.time() + 200
        while not (tmp_path / "last_checkpoint").exists() and time.time() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for path in tmp_path.glob("epoch_2.pth"):  # it was faster than the signal
            path.unlink()
        (tmp_path / "last_checkpoint").unlink()
    else:  # the seed comes from the checkpoint
        shutil.copy(whole / "lr_groups.csv", tmp_path)
        first = read_checkpoint(whole / "epoch_1.pth")
        for key in ("best_score", "best_ckpt"):  # as if killed before the evaluation
            del first["message_hub"]["runtime_info"][key]
        torch.save(first, tmp_path / "epoch_1.pth")
    run("pretrain_cls", *arguments, "--resume")
    one, other = (read_checkpoint(folder / "epoch_2.pth") for folder in (whole, tmp_path))
    for key in ("state_dict", "state_dict_ema", "optimizer", "param_schedulers", "random_state"):
        assert_equal(one[key], other[key], key)
    hubs = [checkpoint["message_hub"]["runtime_info"] for checkpoint in (one, other)]
    assert hubs[0]["best_score"] == hubs[1]["best_score"]
    assert len({Path(hub["best_ckpt"]).name for hub in hubs}) == 1
    figures = [json.loads((folder / "metrics.json").read_text()) for folder in (whole, tmp_path)]
    assert figures[0] == figures[1]


def test_what_a_run_leaves_and_prints(trained, config):
    work_dir, output = trained
    metrics = json.loads((work_dir / "metrics.json").read_text())
    assert metrics["pictures"] == metrics["pictures_ema"] == 9
    assert 0 <= metrics["top1"] <= 1 and 0 <= metrics["top1_ema"] <= 1
    assert "top5" not in metrics  # three classes
    assert set(metrics["per_class"]) == {"ant", "bee", "cat"}
    (scalars,) = work_dir.glob("*/vis_data/scalars.json")
    lines = scalars.read_text().splitlines()
    logged = [json.loads(line) for line in lines if "cls/loss" in line]
    assert [len(logged), logged[-1]["cls/loss"]] == [2, metrics["loss"]]  # of the last alone
    content = read_checkpoint(work_dir / "epoch_2.pth")
    assert content["meta"]["dataset_meta"]["classes"] == ("ant", "bee", "cat")
    plain, average = content["state_dict"], content["state_dict_ema"]
    assert list(plain) == list(average)
    assert not torch.equal(plain["backbone.head.weight"], average["backbone.head.weight"])
    assert "A step has 4 images x 1 processes x 2 batches = 8 images" in output
    assert "--auto-scale-lr multiplies it by 0.125, from 0.002 to 0.00025" in output
    last = output.strip().splitlines()[-1]
    assert f"--backbone-weights {work_dir}" in output and "tools/train.py" in last + output


def test_testing_shows_both_weights(trained, config, data_root, tmp_path):
    work_dir, _ = trained
    out = tmp_path / "results.json"
    output = run(
        "test",
        config,
        work_dir,
        "--data-root",
        data_root,
        "--work-dir",
        tmp_path,
        "--out",
        out,
        "--show-dir",
        tmp_path / "shown",
    )
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    last = json.loads((work_dir / "metrics.json").read_text())
    assert metrics["top1"] == last["top1"] and metrics["top1_ema"] == last["top1_ema"]
    assert f"top1 {metrics['top1']:.3f}" in output and "top1_ema" in output
    rows = json.loads(out.read_text())
    right = sum(row["class"] == row["predicted"] for row in rows)
    assert len(list((tmp_path / "shown").glob("*/*.jpg"))) == 9
    assert len(rows) == 9 and right / 9 == pytest.approx(metrics["top1"])


@pytest.mark.slow
def test_a_detector_starts_from_it(trained, tmp_path):
    work_dir, _ = trained
    detector = tmp_path / "detector.py"
    base = ROOT / "configs/detection/mask_rcnn_convnext_a_shapes.py"
    detector.write_text(
        f'_base_ = ["{base}"]\n'
        "model = dict(\n"
        "    backbone=dict(arch=dict(_delete_=True, depths=(1, 1, 2, 1), dims=(8, 8, 8, 8))),\n"
        "    neck=dict(in_channels=[8, 8, 8, 8]),\n"
        ")\n"
        'train_dataloader = dict(batch_size=2, dataset=dict(data_root="mini/"))\n'
        'val_dataloader = dict(dataset=dict(data_root="mini/"))\n'
        'test_dataloader = dict(dataset=dict(data_root="mini/"))\n'
    )
    prepare_shapes(tmp_path, train=4, val=2, cls_train=1, cls_val=1).rename(tmp_path / "mini")
    arguments = [detector, "--data-root", tmp_path, "--max-iters", 1, "--work-dir"]
    weights = ["--backbone-weights", work_dir]
    output = run("train", *arguments, tmp_path / "plain", *weights)
    assert "new by design: norm0.weight" in output
    assert "not part of this model: norm (2), head (2)" in output
    output = run("train", *arguments, tmp_path / "ema", *weights, "--ema")
    assert "key state_dict_ema" in output
    # one step from different weights
    states = [read_checkpoint(tmp_path / f"{name}/iter_1.pth") for name in ("plain", "ema")]
    first, second = (state["state_dict"]["backbone.stages.3.0.gamma"] for state in states)
    assert not torch.equal(first, second)
    bare = tmp_path / "bare.pth"
    torch.save({"state_dict": read_checkpoint(work_dir / "epoch_2.pth")["state_dict"]}, bare)
    with pytest.raises(UserError, match="has no averaged weights; leave --ema out"):
        hand_over(ConfigDict(type="ConvNeXt"), str(bare), ema=True)
    with pytest.raises(UserError, match="but the backbone is ResNet"):
        hand_over(ConfigDict(type="ResNet"), str(bare), ema=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["model.backbone.num_classes=7"], "built for 7 classes but"),
        (["train_dataloader.dataset.metainfo.classes=imagenet-1k"], "does not know 3, such as"),
        (["train_dataloader.dataset.data_root=gone"], "There is no folder"),
        (["train_dataloader.dataset.reader=hfds"], "must be one of folder, tar, shards, hf"),
    ],
)
def test_wrong_input_gets_one_sentence(config, data_root, options, message):
    options = {key: value for key, value in (option.split("=") for option in options)}
    options = {key: int(value) if value.isdigit() else value for key, value in options.items()}
    with pytest.raises(UserError, match=message):
        load_fitted_config(config, data_root=data_root, cfg_options=options)


def test_an_odd_batch_cannot_be_mixed(config, data_root, tmp_path):
    flags = ["--data-root", data_root, "--work-dir", tmp_path / "w", "--ema", "--cfg-options"]
    assert "--ema belongs to" in run(
        "pretrain_cls", config, *flags, "train_dataloader.batch_size=3", code=2
    )
    flags.remove("--ema")
    output = run("pretrain_cls", config, *flags, "train_dataloader.batch_size=3", code=2)
    assert "set train_dataloader.batch_size to an even number" in output


def test_corrupt_pictures_are_reported_and_limited(config, data_root, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(data_root / "mini", root / "mini")
    broken = root / "mini/train/bee/3.png"
    broken.write_bytes(broken.read_bytes()[:200])
    (root / "mini/val/cat/1.png").write_bytes(b"")
    # An epoch leaves 3 of the 27 images out: the seed decides whether the broken one is drawn.
    flags = ["--data-root", root, "--max-iters", 12, "--seed", 0, "--work-dir"]
    output = run("pretrain_cls", config, *flags, tmp_path / "a")
    assert output.count(f"{broken} cannot be read and is skipped") >= 1
    metrics = json.loads((tmp_path / "a/metrics.json").read_text())
    assert metrics["pictures"] == 8
    for name in "012345":
        (root / f"mini/train/ant/{name}.png").write_bytes(b"no image")
    hooks = [hook.type for hook in load_fitted_config(config, data_root=root).custom_hooks]
    limit = f"custom_hooks.{hooks.index('SkipUnreadableHook')}.limit"
    limited = [*flags, tmp_path / "b", "--cfg-options", f"{limit}=2"]
    output = run("pretrain_cls", config, *limited, code=2)
    assert f"7 of 27 opened images of {root / 'mini/train'}" in output  # before the first step


def test_pictures_that_become_unreadable_end_a_run(config, data_root):
    cfg = load_fitted_config(config, data_root=data_root)
    hook = SkipUnreadableHook(limit=2)
    runner = SimpleNamespace(cfg=cfg, logger=logging.getLogger())
    for number in (1, 2, 2):
        hook.before_train_iter(runner, 0, dict(unreadable=[(f"{number}.png", "cut off")]))
    place = [one.type for one in cfg.custom_hooks].index("SkipUnreadableHook")
    message = f"3 images cannot be read, the last of them 3.png.*custom_hooks.{place}.limit=NUMBER"
    with pytest.raises(UserError, match=message):
        hook.before_train_iter(runner, 0, dict(unreadable=[("3.png", "cut off")]))


def test_training_needs_all_classes_and_a_test_some(config, tmp_path):
    draw(tmp_path / "mini/train", 2, ("ant", "bee"))
    draw(tmp_path / "mini/val", 1, ("ant", "bee"))
    classes = {"train_dataloader.dataset.metainfo.classes": list(CLASSES)}
    flags = dict(data_root=tmp_path, cfg_options=classes)
    with pytest.raises(UserError, match="has 2 of the 3 classes"):
        load_fitted_config(config, **flags)
    cfg = load_fitted_config(config, **flags, splits=("test",), classes=CLASSES)
    assert cfg.model.backbone.num_classes == 3
    with pytest.raises(UserError, match="trained for 2 classes"):
        load_fitted_config(config, **flags, splits=("test",), classes=("ant", "bee"))
