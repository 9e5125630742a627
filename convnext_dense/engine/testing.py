"""The test run: a checkpoint, the data, the metrics file and pictures."""

import argparse
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log

from convnext_dense.engine import launch
from convnext_dense.engine.config import load_config
from convnext_dense.engine.fit_data import drop_mask_branch
from convnext_dense.engine.nodes import datasets, evaluators
from convnext_dense.engine.runner import build_runner
from convnext_dense.engine.workdir import keep_previous, latest_checkpoint
from convnext_dense.errors import UserError
from convnext_dense.weights import read_checkpoint


def test(args: argparse.Namespace) -> None:
    """Tests what ``tools/test.py`` was asked for (see its ``--help`` for the flags)."""
    path = Path(args.checkpoint)
    if path.is_dir():
        path = latest_checkpoint(path) or path
    checkpoint = read_checkpoint(path)
    cfg = load_config(
        args.config,
        data_root=args.data_root,
        cfg_options=args.cfg_options,
        launcher=args.launcher,
        splits=("test",),
        classes=trained_classes(checkpoint),
    )
    if not has_masks(checkpoint):
        drop_mask_branch(cfg)
    work_dir = Path(args.work_dir or Path("work_dirs") / f"{Path(args.config).stem}_test")
    cfg.work_dir = str(work_dir)
    cfg.load_from = str(path)
    # Only the test is run; without the rest, nothing of the training set is opened.
    for key in ("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler"):
        cfg.pop(key, None)
    for key in ("val_dataloader", "val_cfg", "val_evaluator"):
        cfg.pop(key, None)
    if args.limit is not None:
        limit(cfg, args.limit)
    if args.show_dir:
        cfg.default_hooks.visualization.update(
            draw=True, test_out_dir=str(Path(args.show_dir).resolve())
        )
    if args.out:
        for evaluator in evaluators(cfg, "test"):
            evaluator.outfile = args.out
    if launch.rank(args.launcher) == 0:
        kept = keep_previous(work_dir / "metrics.json")
        if kept:
            print_log(f"The figures of an earlier test are kept as {kept}.")
    metrics = build_runner(cfg).test()
    if launch.rank(args.launcher) == 0:
        figures = "  ".join(
            f"{name} {metrics[f'coco/{name}']:.3f}"
            for name in ("bbox_mAP", "segm_mAP")
            if f"coco/{name}" in metrics
        )
        print(f"{figures}  ({work_dir / 'metrics.json'})")


def trained_classes(checkpoint: dict) -> tuple[str, ...] | None:
    """Class names a checkpoint of mmengine was trained with; None where it names none."""
    meta = checkpoint.get("meta") or {}
    classes = (meta.get("dataset_meta") or {}).get("classes")
    return tuple(classes) if classes else None


def has_masks(checkpoint: dict) -> bool:
    """Whether a checkpoint's model has a mask branch."""
    return any("mask_head" in name for name in checkpoint.get("state_dict", checkpoint))


def limit(cfg: Config, pictures: int) -> None:
    """Tests the first ``pictures`` pictures only."""
    if pictures < 1:
        raise UserError(f"--limit must be at least 1, got {pictures}.")
    for dataset in datasets(cfg, "test"):
        dataset.indices = pictures
