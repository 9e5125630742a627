"""Detector, segmentor and classifier on the fused path, interpreted: one step, and whole runs."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner

from convnext_dense.data.fit import load_fitted_config
from convnext_dense.data.shapes.dataset import prepare_shapes
from convnext_dense.models import Block
from tests.exact import assert_same_checkpoints
from tests.running import ROOT, run

pytest.importorskip("triton", reason="Triton comes with torch for Linux with CUDA only")
pytestmark = pytest.mark.interpreted

FUSED = {"TRITON_INTERPRET": "1", "CONVNEXT_DENSE_KERNELS": "1"}
BACKBONE = (
    "backbone=dict(arch=dict(_delete_=True, depths=(1, 1, 1, 1), dims=(8, 8, 8, 8)),"
    " drop_path_rate=0.5)"
)
# Task -> its recipe, the changes that make it small, and its metric.
RUNS = {
    "detector": (
        "detection/mask_rcnn_convnext_a_shapes",
        f"""
pipeline = [*_base_.train_pipeline]
pipeline[3] = dict(pipeline[3], scales=[(64, 48)])
tested = [*_base_.test_pipeline]
tested[1] = dict(tested[1], scale=(64, 48))
model = dict(
    {BACKBONE},
    neck=dict(in_channels=[8, 8, 8, 8]),
    test_cfg=dict(rcnn=dict(max_per_img=3)),
)
""",
        "segm_mAP",
    ),
    "segmentor": (
        "segmentation/upernet_convnext_a_shapes",
        f"""
pipeline = [*_base_.train_pipeline]
pipeline[2] = dict(pipeline[2], scale=(64, 48))
pipeline[3] = dict(pipeline[3], crop_size=(32, 32))
tested = [*_base_.test_pipeline]
tested[1] = dict(tested[1], scale=(64, 48))
model = dict(
    {BACKBONE},
    data_preprocessor=dict(size=(32, 32)),
    decode_head=dict(in_channels=[8, 8, 8, 8], channels=16),
    auxiliary_head=dict(in_channels=8, channels=16),
)
""",
        "mIoU",
    ),
    "classifier": (
        "classification/convnext_a_shapes",
        f"""
pipeline = tested = None
model = dict({BACKBONE})
""",
        "top1",
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fused")
    prepare_shapes(folder, train=6, val=1, cls_train=6, cls_val=1).rename(folder / "mini")
    for task, (recipe, change, _) in RUNS.items():
        text = f'_base_ = ["{ROOT}/configs/{recipe}.py"]\n{change}\n'
        for split, steps in (("train", "pipeline"), ("val", "tested")):
            if task == "classifier":
                data = f'data_root="mini/cls/{split}", transform=dict(size=32)'
            else:
                data = f'data_root="mini", pipeline={steps}'
            text += f"{split}_dataloader = dict(batch_size=2, dataset=dict({data}))\n"
        (folder / f"{task}.py").write_text(text)
    return folder


def train(folder: Path, task: str, name: str, *flags, env: dict[str, str] | None = None) -> Path:
    """A run of two or three iterations; its work folder."""
    tool = "pretrain_cls" if task == "classifier" else "train"
    settings = ["--seed", 0, "--data-root", ".", "--work-dir", name]
    options = [
        "--cfg-options",
        "default_hooks.checkpoint.interval=1",
        "default_hooks.checkpoint.max_keep_ckpts=-1",
        "default_hooks.logger.interval=1",
    ]
    run(tool, f"{task}.py", *settings, *flags, *options, cwd=folder, env=env)
    return folder / name


def losses(work_dir: Path) -> list[float]:
    lines = next(work_dir.glob("*/vis_data/scalars.json")).read_text().splitlines()
    return [line["loss"] for line in map(json.loads, lines) if "loss" in line]


@pytest.mark.parametrize(
    "task",
    [pytest.param(task, marks=[] if task == "classifier" else [pytest.mark.slow]) for task in RUNS],
)
def test_a_step_is_the_plain_ones(folder, task, fused_path):
    """Losses and all gradients of one batch, with stochastic depth."""
    cfg = load_fitted_config(str(folder / f"{task}.py"), data_root=str(folder))
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope", "mmengine")):
        torch.manual_seed(1)
        model = MODELS.build(cfg.model)
        for parameter in model.parameters():  # so that the blocks matter: the initial gamma is 1e-6
            torch.nn.init.normal_(parameter, std=0.1)
        loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
        batch = next(iter(loader))
        found = [step(model, batch, fast) for fast in (False, True)]
    assert len(fused_path) == 4
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)


def step(model: torch.nn.Module, batch: dict, fast: bool) -> dict[str, torch.Tensor]:
    """Losses and gradients by name."""
    for module in model.modules():
        if isinstance(module, Block):
            module.fast = fast
    torch.manual_seed(3)
    model.train().zero_grad()
    inputs = model.data_preprocessor(batch, training=True)
    loss, losses = model.parse_losses(model(**inputs, mode="loss"))
    loss.backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {name: value.detach() for name, value in (losses | grads).items()}


@pytest.mark.slow
@pytest.mark.parametrize("task", RUNS)
def test_a_run_is_the_plain_ones(folder, task):
    """Three iterations with stochastic depth, evaluated; the same, resumed after the second."""
    plain = train(folder, task, f"plain {task}", "--max-iters", 3)
    fused = train(folder, task, f"fused {task}", "--max-iters", 3, env=FUSED)
    log = next(fused.glob("*/*.log")).read_text()
    assert "Blocks: the fused kernels, in float32." in log and "The fused kernel " not in log
    assert "Blocks:" not in next(plain.glob("*/*.log")).read_text()
    assert len(losses(fused)) == 3
    assert losses(fused) == pytest.approx(losses(plain), rel=1e-4)
    metrics = json.loads((fused / "metrics.json").read_text())
    assert any(key.endswith(RUNS[task][2]) for key in metrics)

    start = ("--max-iters", 3, "--resume", fused / "iter_2.pth")
    resumed = train(folder, task, f"resumed {task}", *start, env=FUSED)
    assert_same_checkpoints(fused / "iter_3.pth", resumed / "iter_3.pth")
