"""Own data through the tools: the rate is scaled once, and the work folder's config is enough."""

import csv
import json
from dataclasses import replace

import pytest

from convnext_dense.cli.shared.train_flags import TrainFlags
from convnext_dense.cli.shared.train_settings import fit_settings, load_settings
from convnext_dense.data.own import flags as own_data_flags
from tests.datasets.test_labels import SHAPES as LABEL_SHAPES
from tests.datasets.test_own_data import detection_flags, label_flags, parse
from tests.miniature import SHAPES
from tests.running import run


def base_rate(work_dir) -> float:
    with (work_dir / "lr_groups.csv").open() as file:
        return max(float(row["lr"]) for row in csv.DictReader(file))


@pytest.mark.slow
def test_train_resume_and_test(birds, tmp_path, monkeypatch):
    work_dir = tmp_path / "run"
    flags = [*detection_flags(birds), "--work-dir", work_dir, "--seed", 1, "--auto-scale-lr"]
    flags += ["--cfg-options", "train_dataloader.batch_size=2"]
    output = run("train", SHAPES, "--max-iters", 2, *flags)
    # made for 4 images a step and 380 of them: half the rate; 570 steps of 4 are 240 epochs of 5
    for row in ("learning rate 0.002 0.001 x 2 / 4 images", "stops after 2 --max-iters"):
        assert row in " ".join(output.split())
    pictures = json.loads((birds / "train.json").read_text())["images"]
    assert len(pictures) == 10 and "learning rates x 0.5" in output
    assert base_rate(work_dir) == pytest.approx(1e-3)  # scaled once, though asked for twice
    run("train", SHAPES, "--max-iters", 3, "--resume", *flags)
    assert json.loads((work_dir / "metrics.json").read_text())["iter"] == 3
    monkeypatch.chdir(tmp_path)
    output = run("test", work_dir / SHAPES.name, work_dir, "--work-dir", tmp_path / "t")
    tested = json.loads((tmp_path / "t/metrics.json").read_text())
    assert tested["bbox_mAP"] == json.loads((work_dir / "metrics.json").read_text())["bbox_mAP"]
    output = run("train", work_dir / SHAPES.name, *flags, code=2)
    assert "is the config of a run on own data" in output


@pytest.mark.slow
def test_the_rate_is_scaled_once_and_a_class_without_a_pixel_is_said(streets, tmp_path):
    with (streets / "classes.txt").open("a") as file:
        file.write("moon\n")
    flags = [*label_flags(streets), "--work-dir", tmp_path / "run", "--auto-scale-lr"]
    options = ["--cfg-options", "train_dataloader.batch_size=1"]
    output = run("train", LABEL_SHAPES, "--max-iters", 1, *flags, *options)
    assert "learning rate 0.004 0.002 x 1 / 2 images" in " ".join(output.split())
    assert base_rate(tmp_path / "run") == pytest.approx(2e-3)  # though asked for twice
    (log,) = (tmp_path / "run").glob("*/*.log")
    for text in (output, log.read_text()):
        assert "1 of 8 classes have no pixel to train on in the 10 labels that were read" in text


def settings_of(flags: TrainFlags):
    settled = load_settings(flags)
    fit_settings(settled, flags)
    return settled.cfg


def test_a_given_rate_is_not_scaled(streets, tmp_path, capsys):
    options = {"optim_wrapper.optimizer.lr": 0.003, "train_dataloader.batch_size": 1}
    own = own_data_flags.from_args(parse(*label_flags(streets)), ("train", "val", "test"))
    flags = TrainFlags(LABEL_SHAPES, cfg_options=options, own_data=own)
    cfg = settings_of(flags)
    assert "learning rate 0.004 0.003 as given, not scaled" in " ".join(
        capsys.readouterr().out.split()
    )
    assert "auto_scale_lr" not in cfg and cfg.optim_wrapper.optimizer.lr == 0.003
    cfg = settings_of(replace(flags, auto_scale_lr=True))
    assert cfg.auto_scale_lr.enable


def test_a_wrong_flag_ends_the_tool_with_one_sentence(birds, tmp_path):
    output = run("browse_data", LABEL_SHAPES, "--out", tmp_path, *detection_flags(birds), code=2)
    last = output.rstrip().splitlines()[-1]
    assert last.startswith("error: ") and "a segmentor --labels" in last
