"""``--log``: a whole training and test with a fake package; a missing one before all else."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from mmengine.visualization import Visualizer

from convnext_dense.cli import test as testing
from convnext_dense.cli.shared.train_flags import TrainFlags
from convnext_dense.cli.train import train
from convnext_dense.runs.signals import handling_signals
from tests.miniature import CONFIGS, SHAPES
from tests.running import run
from tests.trackers.fakes import wandb
from tests.trackers.test_trackers import image_steps, rows

SEGMENTOR = CONFIGS.parent / "segmentation/upernet_convnext_a_shapes.py"


@pytest.fixture
def package(monkeypatch):
    package = wandb()
    monkeypatch.setitem(sys.modules, "wandb", package)
    return package


def options_of(options: dict, name: str) -> dict:
    """Of the segmentor too, whose visualizer is known by its name to the end of the process."""
    left = {key: value for key, value in options.items() if "rcnn" not in key}
    few = {f"{split}_dataloader.dataset.indices": 2 for split in ("val", "test")}
    return {**left, **few, "visualizer.name": name}


@pytest.mark.parametrize(
    "config", [SHAPES, pytest.param(SEGMENTOR, marks=pytest.mark.slow)], ids=["det", "seg"]
)
@pytest.mark.slow
def test_a_training_and_its_test(package, config, data_root, options, tmp_path):
    Visualizer._instance_dict.clear()
    flags = dict(data_root=str(data_root), log=["wandb"])
    work_dir = tmp_path / "birds"
    options = options_of(options, tmp_path.name)
    run_flags = TrainFlags(
        str(config), work_dir=str(work_dir), max_iters=2, seed=0, cfg_options=options, **flags
    )
    with handling_signals():  # forgets what tests before this one have asked of this process
        train(run_flags)
    logged = rows(package)
    assert "train/loss" in logged[1] and "train/loss" in logged[2]
    figure = "val/bbox_mAP" if config == SHAPES else "val/mIoU"
    assert figure in logged[2] and figure not in logged[1]
    assert image_steps(package) == {"val/0": 2, "val/1": 2}
    assert {Path(told["glob_str"]).name for told in package.of("save")} == {
        "env.json",
        "lr_groups.csv",
        "metrics.json",
    }
    (told, *_) = package.of("config")
    assert told["d"]["work_dir"] == str(work_dir) and len(package.of("finish")) == 1
    testing.test(
        testing.TestFlags(
            str(work_dir / f"{config.stem}.py"),
            str(work_dir),
            work_dir=str(tmp_path / "test"),
            cfg_options={"visualizer.name": f"{tmp_path.name}_test"},
            **flags,
        )
    )
    assert figure.replace("val", "test") in rows(package)[0]
    assert {"test/0", "test/1"} <= image_steps(package).keys()
    assert package.of("init")[-1]["id"] is None  # another run than the training's


def test_a_missing_package_ends_before_anything_is_written(data_root, tmp_path):
    if find_spec("clearml"):
        pytest.skip("clearml is installed here, so nothing is missing")
    work_dir = tmp_path / "run"
    common = ["--data-root", data_root, "--work-dir", work_dir]
    out = run("train", SHAPES, *common, "--log", "clearml", code=2)
    assert out.strip().splitlines()[-1].startswith("error: --log clearml (ClearMLTracker in the")
    backends = '[dict(type="JsonVisBackend"),dict(type="ClearMLVisBackend")]'
    own = tmp_path / "own.py"
    own.write_text(f"_base_ = [{str(SHAPES)!r}]\nvisualizer = dict(vis_backends={backends})\n")
    out = run("train", own, *common, code=2)
    assert "needs the package clearml, which is not installed: pip install clearml" in out
    assert not work_dir.exists()
