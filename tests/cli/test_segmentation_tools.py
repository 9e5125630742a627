"""The tools on a segmentation config: train, resume, test; and a label that is no class."""

import json
import os
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

from convnext_dense.cli.shared.run_command import sentence
from convnext_dense.errors import UserError
from tests.datasets.test_labels import MINI, NAMES, SHAPES
from tests.running import ROOT, run

SMALL = ["train_dataloader.batch_size=2", "default_hooks.checkpoint.interval=1"]


def flags(data_root, *more) -> list:
    options = [f"{key}={value}" for key, value in MINI.items()]
    return ["--data-root", data_root, "--cfg-options", *options, *SMALL, *more]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data_root):
    work_dir = tmp_path_factory.mktemp("seg") / "run"
    arguments = ["--work-dir", work_dir, "--seed", 1, *flags(data_root)]
    run("train", SHAPES, "--max-iters", 2, *arguments)
    return work_dir, arguments


def test_a_run_writes_its_metrics(trained):
    metrics = json.loads((trained[0] / "metrics.json").read_text())
    assert {"mIoU", "mAcc", "aAcc"} <= set(metrics) and 0 <= metrics["mIoU"] <= 1
    assert tuple(metrics["per_class"]) == NAMES and metrics["iter"] == 2
    assert (trained[0] / "iter_2.pth").is_file() and (trained[0] / "iter_1.pth").is_file()


@pytest.mark.slow
def test_resume_and_test(trained, data_root, tmp_path):
    work_dir = tmp_path / "copy"
    shutil.copytree(trained[0], work_dir)
    arguments = ["--work-dir", work_dir, *trained[1][2:]]
    output = run("train", SHAPES, "--resume", "--max-iters", 3, *arguments)
    assert "resumed epoch: 0, iter: 2" in output
    assert json.loads((work_dir / "metrics.json").read_text())["iter"] == 3
    out, shown = tmp_path / "out.json", tmp_path / "shown"
    more = ["--limit", 3, "--show-dir", shown, "--out", out, "--work-dir", tmp_path / "t"]
    output = run("test", SHAPES, work_dir, *more, *flags(data_root))
    metrics = json.loads((tmp_path / "t/metrics.json").read_text())
    assert output.rstrip().splitlines()[-1].startswith(f"mIoU {metrics['mIoU']:.3f}")
    assert len(json.loads(out.read_text())) == 3
    pictures = sorted(shown.glob("*.jpg"))
    assert len(pictures) == 3
    for path in pictures:  # truth and prediction side by side
        original = cv2.imread(str(data_root / "mini/val" / path.name))
        assert cv2.imread(str(path)).shape[1] == 2 * original.shape[1]


@pytest.mark.slow
def test_scores_or_not_and_either_class_have_the_same_figures(trained, data_root, tmp_path):
    found = []
    for name, more, options in (
        ("lean", [], []),
        ("scores", ["--out", tmp_path / "out.json"], []),
        ("theirs", [], ["model.type=EncoderDecoder"]),  # as older resolved configs have it
    ):
        arguments = ["--work-dir", tmp_path / name, *more, *flags(data_root, *options)]
        run("test", SHAPES, trained[0], *arguments)
        found.append(json.loads((tmp_path / name / "metrics.json").read_text())["per_class"])
    assert found[0] == found[1] == found[2]
    assert all("confidence" in row for row in json.loads((tmp_path / "out.json").read_text()))


@pytest.mark.slow
def test_several_views(trained, data_root, tmp_path):
    found = []
    for bound in (256, 0.01):
        folder = tmp_path / str(bound)
        views = ["tta_views.ratios=[1.0,1.5]", f"tta_views.strip_memory={bound}"]
        more = ["--tta", "--limit", 2, "--work-dir", folder, *flags(data_root, *views)]
        output = run("test", SHAPES, trained[0], *more)
        assert "4 views: " in output and "s per image; single scale: " in output
        found.append(json.loads((folder / "metrics.json").read_text()))
    assert found[0]["tta"] is True and found[0]["tta_views"] == 4
    assert found[0]["per_class"] == found[1]["per_class"]


@pytest.mark.slow
def test_two_processes_find_what_one_finds(trained, data_root, tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    test = [ROOT / "tools/test.py", SHAPES, trained[0] / "iter_2.pth", "--tta"]
    found = []
    for number, before in enumerate(([sys.executable], launch)):
        folder = tmp_path / str(number)
        after = ["--launcher", "pytorch"] if number else []
        arguments = [*test, "--limit", 5, "--work-dir", folder, *after, *flags(data_root)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        command = [*before, *map(str, arguments)]
        subprocess.run(command, check=True, capture_output=True, env=environment, timeout=300)
        found.append(json.loads((folder / "metrics.json").read_text()))
    assert found[0]["per_class"] == found[1]["per_class"]


def test_predict_writes_overlays_labels_and_shares(trained, data_root, tmp_path):
    source = data_root / "mini/val"
    checkpoint = trained[0] / "iter_2.pth"
    output = run("predict", SHAPES, checkpoint, source, "--out", tmp_path / "p")
    assert f"in 6 images: {tmp_path / 'p'}" in output
    results = json.loads((tmp_path / "p/predictions.json").read_text())
    assert [one["file_name"] for one in results] == sorted(path.name for path in source.iterdir())
    for one in results:
        stem = one["file_name"].removesuffix(".jpg")
        original = cv2.imread(str(source / one["file_name"]))
        labels = cv2.imread(str(tmp_path / f"p/{stem}_labels.png"), -1)
        assert labels.shape == original.shape[:2]
        counts = np.bincount(labels.ravel(), minlength=len(NAMES)) / labels.size
        shares = [one["shares"].get(name, 0) for name in NAMES]
        np.testing.assert_allclose(shares, counts, atol=1e-6)
        assert cv2.imread(str(tmp_path / f"p/{stem}.jpg")).shape == original.shape


def test_predict_with_tiny_pictures(trained, tmp_path):
    for name, size in (("dot", 1), ("tiny", 9)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((size, size, 3), np.uint8))
    output = run("predict", SHAPES, trained[0], tmp_path, "--out", tmp_path / "p")
    assert "in 2 images" in output
    for name, size in (("dot", 1), ("tiny", 9)):
        assert cv2.imread(str(tmp_path / f"p/{name}.jpg")).shape == (size, size, 3)


def test_a_label_that_is_no_class_ends_with_one_sentence(data_root, tmp_path):
    shutil.copytree(data_root / "mini", tmp_path / "mini")
    for path in (tmp_path / "mini/labels/train").glob("*.png"):
        cv2.imwrite(str(path), np.full(cv2.imread(str(path), -1).shape, 9, np.uint8))
    arguments = ["--work-dir", tmp_path / "w", "--max-iters", 1]
    workers = flags(tmp_path, "train_dataloader.num_workers=1")
    output = run("train", SHAPES, *arguments, *workers, code=2)
    last = output.rstrip().splitlines()[-1]
    assert last.startswith("error: ") and ".png holds the label 9, but the 7 classes" in last


def test_a_sentence_survives_a_worker_process():
    wrapped = "Caught UserError in worker 0.\nOriginal Traceback (most recent call last):\n  File\n"
    error = UserError(f"{wrapped}convnext_dense.errors.UserError: x.png is wrong.\n")
    assert sentence(error) == "x.png is wrong."
    assert sentence(UserError("plain")) == "plain"
