"""The tools as a user runs them: train, kill, resume, test, predict; and wrong input."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from convnext_dense.atomic_files import keep_previous
from tests.miniature import SHAPES
from tests.running import ROOT, run


def command(tool: str, *arguments) -> list[str]:
    return [sys.executable, str(ROOT / f"tools/{tool}.py"), *map(str, arguments)]


@pytest.fixture(scope="module")
def flags(data_root, options) -> list[str]:
    return ["--data-root", data_root, "--cfg-options", *(f"{k}={v}" for k, v in options.items())]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, flags) -> tuple[Path, str]:
    """A run of three iterations with a checkpoint after every one, and what it printed."""
    work_dir = tmp_path_factory.mktemp("runs") / "first"
    checkpoints = "default_hooks.checkpoint.interval=1"
    output = run(
        "train", SHAPES, "--max-iters", 3, "--work-dir", work_dir, "--seed", 1, *flags, checkpoints
    )
    return work_dir, output


def test_the_work_folder_holds_what_it_should(trained):
    work_dir, output = trained
    env = json.loads((work_dir / "env.json").read_text())
    assert env["torch"].startswith("2.") and env["device"] and "--max-iters" in env["command"]
    metrics = json.loads((work_dir / "metrics.json").read_text())
    assert {"bbox_mAP", "segm_mAP", "bbox_mAP_50", "per_class"} <= set(metrics)
    assert set(metrics["per_class"]["circle"]) == {"bbox_mAP", "segm_mAP"}
    assert metrics["iter"] == 3
    assert "lr_scale" in (work_dir / "lr_groups.csv").read_text().splitlines()[0]
    assert (work_dir / SHAPES.name).is_file()
    logs = next(path.parent for path in work_dir.glob("*/*.log"))
    lines = (logs / "vis_data/scalars.json").read_text().splitlines()
    first = json.loads(lines[0])
    assert first["loss"] > 0 and first["min_lr"] <= first["max_lr"] and first["memory"] > 0
    assert list(logs.glob("vis_data/events*"))
    assert "eta:" in output and re.search(r"max_lr: [1-9].*e-0", output) and "circle" in output


def test_a_second_run_does_not_overwrite_the_first(trained, flags):
    work_dir, _ = trained
    before = {path: path.stat().st_mtime_ns for path in work_dir.rglob("*")}
    output = run("train", SHAPES, "--max-iters", 1, "--work-dir", work_dir, *flags, code=2)
    assert "holds a run already: continue it with --resume" in output
    assert before == {path: path.stat().st_mtime_ns for path in work_dir.rglob("*")}


def test_test_writes_results_and_pictures(trained, flags, tmp_path, data_root):
    work_dir, _ = trained
    out, shown = tmp_path / "results.json", tmp_path / "shown"
    arguments = ["--work-dir", tmp_path / "t", "--out", out, "--show-dir", shown, "--limit", 4]
    output = run("test", SHAPES, work_dir / "iter_3.pth", *arguments, *flags)
    metrics = json.loads((tmp_path / "t/metrics.json").read_text())
    assert f"bbox_mAP {metrics['bbox_mAP']:.3f}" in output
    results = json.loads(out.read_text())
    truth = json.loads((data_root / "mini/annotations/instances_val.json").read_text())
    first = {image["id"] for image in truth["images"][:4]}
    assert {result["image_id"] for result in results} <= first
    assert all(set(r) >= {"category_id", "bbox", "score", "segmentation"} for r in results)
    pictures = sorted(shown.glob("*.jpg"))
    assert len(pictures) == 4
    width = {image["file_name"]: image["width"] for image in truth["images"]}
    for path in pictures:  # truth and prediction side by side
        assert cv2.imread(str(path)).shape[1] == 2 * width[path.name]
    # a second test into the same folder keeps the first one's figures
    output = run("test", SHAPES, work_dir, "--work-dir", tmp_path / "t", "--limit", 2, *flags)
    assert json.loads((tmp_path / "t/metrics.1.json").read_text()) == metrics
    assert "metrics.1.json" in output


@pytest.mark.slow
def test_tta_writes_its_time_beside_the_plain_one(trained, flags, tmp_path):
    work_dir, _ = trained
    arguments = ["--work-dir", tmp_path / "t", "--limit", 2, "--tta", *flags]
    output = run("test", SHAPES, work_dir, *arguments, "tta_views.scales=[(96,128),(128,170)]")
    metrics = json.loads((tmp_path / "t/metrics.json").read_text())
    assert {"bbox_mAP", "segm_mAP", "per_class"} <= set(metrics)
    assert metrics["tta"] is True and metrics["tta_views"] == 4
    seconds, single = metrics["seconds_per_image"], metrics["seconds_per_image_single"]
    assert single > 0 and seconds > 0
    assert f"4 views: {seconds:.3f} s per image; single scale: {single:.3f} s" in output
    output = run("test", SHAPES, work_dir, *arguments, "tta_views.scale=5", code=2)
    assert "DetectionViews has no setting 'scale'; the nearest is 'scales'" in output


def test_kill_and_resume(trained, flags, tmp_path):
    work_dir = tmp_path / "killed"
    arguments = ["--max-iters", 6, "--work-dir", work_dir, "--seed", 1, *flags]
    arguments.append("default_hooks.checkpoint.interval=2")
    process = subprocess.Popen(
        command("train", SHAPES, *arguments),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    deadline = time.time() + 200
    while not (work_dir / "last_checkpoint").exists() and time.time() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (work_dir / "last_checkpoint").exists()
    output = run("train", SHAPES, "--resume", *arguments)
    assert "resumed epoch: 0, iter: " in output
    assert (work_dir / "iter_6.pth").is_file()
    assert json.loads((work_dir / "metrics.json").read_text())["iter"] == 6


@pytest.mark.slow  # tests/inference has the same, of shorter runs
def test_predict_writes_overlays_and_json(trained, tmp_path, data_root):
    work_dir, _ = trained
    folder = tmp_path / "in"
    folder.mkdir()
    source = sorted((data_root / "mini/val").glob("*.jpg"))[0]
    (folder / "good.jpg").write_bytes(source.read_bytes())
    run("predict", SHAPES, work_dir / "iter_3.pth", folder, "--out", tmp_path / "a")
    assert cv2.imread(str(tmp_path / "a/good.jpg")).shape == cv2.imread(str(source)).shape
    (folder / "bad.jpg").write_bytes(b"no image")
    (folder / "empty.png").touch()
    cv2.imwrite(str(folder / "thin.png"), np.zeros((1000, 1, 3), np.uint8))
    cv2.imwrite(str(folder / "good.png"), cv2.imread(str(source), cv2.IMREAD_GRAYSCALE))
    output = run("predict", SHAPES, work_dir, folder, "--out", tmp_path / "b", code=2)
    assert "3 images were left out" in output
    for message in ("bad.jpg cannot be read", "empty.png cannot be read", "too thin"):
        assert message in output
    found = json.loads((tmp_path / "b/predictions.json").read_text())
    assert [entry["file_name"] for entry in found] == ["good.jpg", "good.png"]
    overlays = {path.name for path in (tmp_path / "b").glob("*.jpg")}
    assert overlays == {"good.jpg.jpg", "good.png.jpg"}


def test_predict_never_overwrites_its_input(tmp_path):
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((64, 64, 3), np.uint8))
    before = (tmp_path / "a.jpg").read_bytes()
    output = run("predict", SHAPES, "gone.pth", tmp_path, "--out", tmp_path, code=2)
    assert "--out would overwrite" in output
    assert (tmp_path / "a.jpg").read_bytes() == before


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("train", ["nothing.py"], "There is no config file nothing.py"),
        ("train", [SHAPES, "--max-iters", "0"], "--max-iters must be at least 1"),
        ("train", [SHAPES, "--resume", "gone.pth"], "--resume names gone.pth, which does not"),
        ("train", [SHAPES, "--load-from", "gone.pth"], "--load-from names gone.pth"),
        ("test", [SHAPES, "gone.pth"], "gone.pth does not exist"),
        (
            "train",
            [SHAPES, "--amp", "off"],
            "model.backbone: ConvNeXt has no setting 'drop_path_r",
        ),
    ],
)
def test_wrong_input_gets_one_sentence(tool, arguments, message, flags, tmp_path):
    if "--amp" in arguments:
        flags = [*flags, "model.backbone.drop_path_rat=0.5"]
    output = run(tool, *arguments, "--work-dir", tmp_path / "w", *flags, code=2)
    assert f"error: {message}" in output or message in output.splitlines()[-1]
    assert not (tmp_path / "w/lr_groups.csv").exists()


@pytest.mark.slow
def test_boxes_without_masks_train_and_test(data_root, flags, tmp_path):
    files = {}
    for split in ("train", "val"):
        content = json.loads((data_root / f"mini/annotations/instances_{split}.json").read_text())
        for annotation in content["annotations"]:
            del annotation["segmentation"]
        files[split] = tmp_path / f"{split}.json"
        files[split].write_text(json.dumps(content))
    boxes = [
        *flags,
        f"train_dataloader.dataset.ann_file={files['train']}",
        f"val_dataloader.dataset.ann_file={files['val']}",
    ]
    work_dir = tmp_path / "boxes"
    run("train", SHAPES, "--max-iters", 1, "--work-dir", work_dir, *boxes)
    metrics = json.loads((work_dir / "metrics.json").read_text())
    assert "bbox_mAP" in metrics and "segm_mAP" not in metrics
    # the box model on data with masks
    run("test", SHAPES, work_dir, "--work-dir", tmp_path / "t", "--limit", 2, *flags)
    assert "segm_mAP" not in json.loads((tmp_path / "t/metrics.json").read_text())


@pytest.mark.slow
def test_a_mask_model_is_tested_on_boxes(trained, data_root, flags, tmp_path):
    content = json.loads((data_root / "mini/annotations/instances_val.json").read_text())
    for annotation in content["annotations"]:
        del annotation["segmentation"]
    (tmp_path / "val.json").write_text(json.dumps(content))
    boxes = [*flags, f"test_dataloader.dataset.ann_file={tmp_path / 'val.json'}"]
    run("test", SHAPES, trained[0], "--work-dir", tmp_path / "t", "--limit", 2, *boxes)
    metrics = json.loads((tmp_path / "t/metrics.json").read_text())
    assert "bbox_mAP" in metrics and "segm_mAP" not in metrics


@pytest.mark.slow
def test_two_processes_train_and_evaluate(flags, tmp_path):
    work_dir = tmp_path / "two"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    train = [ROOT / "tools/train.py", SHAPES, "--max-iters", 2, "--work-dir", work_dir, *flags]
    done = subprocess.run(
        [*launch, *map(str, train), "--launcher", "pytorch", "--auto-scale-lr"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        timeout=400,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert json.loads((work_dir / "metrics.json").read_text())["iter"] == 2
    assert "2 images x 2 processes x 1 batches" in done.stdout + done.stderr
    assert len(list(work_dir.glob("env*.json"))) == 1


@pytest.mark.gpu
@pytest.mark.parametrize("amp", ["bf16", "fp16", "off"])
def test_training_on_a_gpu(amp, flags, tmp_path):
    arguments = [SHAPES, "--max-iters", 3, "--work-dir", tmp_path, "--amp", amp, *flags]
    done = subprocess.run(command("train", *arguments), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    wrapper = "AmpOptimWrapper" if amp != "off" else "type='OptimWrapper'"
    assert wrapper in (tmp_path / SHAPES.name).read_text()
    first = json.loads(next(tmp_path.glob("*/vis_data/scalars.json")).read_text().splitlines()[0])
    assert 0 < first["loss"] < 100 and first["memory"] > 0


def test_a_checkpoint_of_another_model_is_refused(trained, flags, tmp_path):
    other = [*flags, "model.roi_head.mask_head.num_convs=1"]
    arguments = [SHAPES, trained[0] / "iter_3.pth", "--work-dir", tmp_path, *other]
    output = run("test", *arguments, code=2)
    assert "is not a checkpoint of this config's model" in output


@pytest.mark.slow
def test_the_resolved_config_of_a_resumed_run_can_be_tested(trained, flags, tmp_path):
    work_dir = tmp_path / "again"
    shutil.copytree(trained[0], work_dir)
    output = run("train", SHAPES, "--resume", "--max-iters", 3, "--work-dir", work_dir, *flags)
    assert "Nothing left to train at iteration 3" in output
    resolved = work_dir / SHAPES.name
    assert "resume = True" in resolved.read_text()
    before = resolved.read_bytes()
    run("test", resolved, work_dir, "--work-dir", work_dir, "--limit", 2, *flags[:2])
    assert (work_dir / "metrics.1.json").exists()
    kept = [path for path in work_dir.glob("*.py") if path.read_bytes() == before]
    assert len(kept) == 1  # the test's config did not replace the training's


@pytest.mark.slow
def test_resume_into_an_empty_folder_takes_load_from(trained, flags, tmp_path):
    arguments = ["--resume", "--load-from", trained[0] / "iter_3.pth", "--max-iters", 1]
    output = run("train", SHAPES, *arguments, "--work-dir", tmp_path / "w", *flags)
    assert "no checkpoint to resume" in output and "iter_3.pth" in output.split("Loaded ")[1]


def test_earlier_files_are_numbered(tmp_path):
    path = tmp_path / "metrics.json"
    assert keep_previous(path) is None
    for number in (1, 2):
        path.write_text(str(number))
        assert keep_previous(path).name == f"metrics.{number}.json"
    assert (tmp_path / "metrics.1.json").read_text() == "1"
