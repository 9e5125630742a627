"""Whole trainings of all tasks: repeated, with worker processes, and resumed anywhere."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mmengine.config import Config

from convnext_dense.data.fit import load_fitted_config
from convnext_dense.data.shapes.dataset import prepare_shapes
from convnext_dense.engine import build_runner
from convnext_dense.weights import read_checkpoint
from tests.exact import assert_same_checkpoints

ROOT = Path(__file__).parents[2]
NARROW = "arch=dict(_delete_=True, depths=(1, 1, 2, 1), dims=(8, 16, 16, 16)), drop_path_rate=0.5"
# Chance everywhere: crops, flips, sizes, colours, stochastic depth, dropout, RoIs, mixup, erasing;
# and each kind of average, schedule and loop.
CONFIGS = dict(
    detector=f"""
_base_ = ["{ROOT}/configs/detection/mask_rcnn_convnext_a_shapes.py"]
pipeline = [*_base_.train_pipeline]
pipeline[3] = dict(pipeline[3], scales=[(short, 96) for short in (48, 56, 64, 72)])
pipeline.insert(4, dict(type="RandomCrop", crop_size=(48, 64), allow_negative_crop=False))
train_dataloader = dict(dataset=dict(data_root="mini", pipeline=pipeline))
val_dataloader = dict(dataset=dict(data_root="mini"))
model = dict(
    backbone=dict({NARROW}),
    neck=dict(in_channels=[8, 16, 16, 16]),
    test_cfg=dict(rcnn=dict(score_thr=0.3, max_per_img=3)),
)
custom_hooks = [*_base_.custom_hooks, dict(type="EMAHook")]
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=4),
    dict(type="MultiStepLR", by_epoch=True, begin=0, end=2, milestones=[1]),
]
""",
    segmentor=f"""
_base_ = ["{ROOT}/configs/segmentation/upernet_convnext_a_shapes.py"]
pipeline = [*_base_.train_pipeline]
pipeline.insert(5, dict(type="PhotoMetricDistortion"))
train_dataloader = dict(dataset=dict(data_root="mini", pipeline=pipeline))
val_dataloader = dict(dataset=dict(data_root="mini"))
model = dict(
    backbone=dict({NARROW}),
    decode_head=dict(in_channels=[8, 16, 16, 16], channels=16, dropout_ratio=0.1),
    auxiliary_head=dict(in_channels=16, channels=16, dropout_ratio=0.1),
)
# OneCycleLR gives all groups one rate, which is refused where layers have their own.
optim_wrapper = dict(
    constructor="DefaultOptimWrapperConstructor", paramwise_cfg=dict(_delete_=True)
)
param_scheduler = [
    dict(type="OneCycleLR", eta_max=0.01, total_steps=9, by_epoch=False),
    dict(type="PolyLR", power=1.0, eta_min=0.0, by_epoch=False, begin=0, end=9),
]
""",
    classifier=f"""
_base_ = ["{ROOT}/configs/classification/convnext_a_shapes.py"]
model = dict(
    data_preprocessor=dict(mixup=0.8, cutmix=1.0, erasing=0.25), backbone=dict({NARROW})
)
train_dataloader = dict(
    dataset=dict(
        data_root="mini/cls/train", transform=dict(size=32, auto_augment="rand-m9-mstd0.5")
    )
)
val_dataloader = dict(dataset=dict(data_root="mini/cls/val", transform=dict(size=32)))
param_scheduler = dict(warmup=1, end=2)
""",
)


@pytest.fixture(scope="module", autouse=True)
def _no_pretty_text():
    # Formatting the config for each checkpoint's meta takes longer than the training.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Config, "pretty_text", property(lambda cfg: str(cfg.filename)))
        yield


@pytest.fixture(scope="module")
def data_root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data")
    prepare_shapes(root, train=11, val=2, cls_train=2, cls_val=1).rename(root / "mini")
    return root


def train(
    task: str, work_dir: Path, data_root: Path, workers=0, persist=False, resume=None
) -> Path:
    """Eight iterations in batches of two with a checkpoint after each; its last checkpoint."""
    work_dir.mkdir(parents=True, exist_ok=True)
    config = work_dir / f"{task}.py"
    config.write_text(CONFIGS[task])
    cfg = load_fitted_config(config, data_root=data_root, splits=("train", "val"))
    cfg.work_dir = str(work_dir)
    cfg.experiment_name = str(work_dir)
    cfg.randomness = dict(seed=5)
    cfg.train_cfg.max_iters = 8
    cfg.optim_wrapper.accumulative_counts = 2
    cfg.default_hooks.checkpoint.update(interval=1, by_epoch=False, max_keep_ckpts=-1)
    cfg.default_hooks.logger.interval = 1
    cfg.visualizer.vis_backends = [dict(type="LocalVisBackend")]
    loader = cfg.train_dataloader
    loader.update(batch_size=2, num_workers=workers, persistent_workers=persist)
    if resume is not None:
        cfg.update(resume=True, load_from=str(resume))
    build_runner(cfg).train()
    return work_dir / "iter_8.pth"


@pytest.fixture(scope="module", params=CONFIGS)
def whole(request, tmp_path_factory, data_root) -> tuple[str, Path]:
    """A task, and the checkpoints of a run that nothing interrupted."""
    work_dir = tmp_path_factory.mktemp(request.param) / "whole"
    return request.param, train(request.param, work_dir, data_root).parent


@pytest.mark.parametrize(
    ("start", "workers", "persist"),
    [
        pytest.param(3, 2, True, id="resumed-inside-a-step-with-workers"),
        pytest.param(0, 0, False, marks=pytest.mark.slow, id="repeated"),
        pytest.param(0, 2, True, marks=pytest.mark.slow, id="repeated-with-workers"),
        pytest.param(3, 0, False, marks=pytest.mark.slow, id="resumed-inside-a-step"),
        pytest.param(4, 1, False, marks=pytest.mark.slow, id="resumed-with-another-worker"),
        pytest.param(5, 2, False, marks=pytest.mark.slow, id="resumed-at-an-epochs-end"),
    ],
)
def test_a_run_equals_the_unbroken_one(whole, data_root, tmp_path, start, workers, persist):
    task, folder = whole
    resume = folder / f"iter_{start}.pth" if start else None
    last = train(task, tmp_path / "run", data_root, workers, persist, resume)
    assert_same_checkpoints(last, folder / "iter_8.pth")
    metrics = [json.loads((run / "metrics.json").read_text()) for run in (folder, last.parent)]
    assert metrics[0] == metrics[1]


KILLED_AT = 3
EACH = """
train_cfg = dict(max_iters=8)
optim_wrapper = dict(accumulative_counts=2)
default_hooks = dict(checkpoint=dict(interval=1, by_epoch=False, max_keep_ckpts=-1))
train_dataloader = dict(batch_size=2, num_workers=2, persistent_workers=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("task", CONFIGS)
def test_a_killed_run_goes_on_with_its_worker_processes(task, data_root, tmp_path):
    """The tool itself, without a seed: killed in its second epoch, and started again."""
    (tmp_path / "base.py").write_text(CONFIGS[task])
    config = tmp_path / "config.py"
    config.write_text(f'_base_ = ["base.py"]\n{EACH}')
    tool = "pretrain_cls" if task == "classifier" else "train"
    command = [sys.executable, ROOT / f"tools/{tool}.py", config, "--data-root", data_root]
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    folder, whole = tmp_path / "run", tmp_path / "whole"
    command = [*map(str, command), "--work-dir", str(folder)]
    process = subprocess.Popen(command, env=environment, **quiet)
    deadline = time.time() + 200
    while not (folder / f"iter_{KILLED_AT}.pth").exists() and time.time() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    for number in range(KILLED_AT + 1, 9):  # it was faster than the signal
        (folder / f"iter_{number}.pth").unlink(missing_ok=True)
    (folder / "last_checkpoint").unlink(missing_ok=True)
    seed = read_checkpoint(folder / f"iter_{KILLED_AT}.pth")["meta"]["seed"]
    subprocess.run([*command, "--resume"], check=True, env=environment, timeout=300, **quiet)
    command[-1] = str(whole)
    unbroken = [*command, "--seed", str(seed)]
    subprocess.run(unbroken, check=True, env=environment, timeout=300, **quiet)
    assert_same_checkpoints(folder / "iter_8.pth", whole / "iter_8.pth")
    metrics = [json.loads((run / "metrics.json").read_text()) for run in (folder, whole)]
    assert metrics[0] == metrics[1]
