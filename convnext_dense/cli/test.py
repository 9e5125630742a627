"""The test run: a checkpoint, the data, the metrics file and pictures."""

import argparse
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log

from convnext_dense.config import launcher
from convnext_dense.config.load import load_config
from convnext_dense.config.safe_reading import refusing_pickles
from convnext_dense.config.tree import datasets, evaluators
from convnext_dense.data.coco.fit_config import drop_mask_branch
from convnext_dense.data.labels.fit_config import keep_scores
from convnext_dense.data.own_data import CustomData
from convnext_dense.engine.fused_kernels import failures_in_log_file
from convnext_dense.engine.hooks import TEST_FACTS
from convnext_dense.engine.multi_view_test import use_views
from convnext_dense.engine.runner import build_runner
from convnext_dense.errors import UserError
from convnext_dense.kernels.availability import read_switch
from convnext_dense.runs.atomic_files import keep_previous
from convnext_dense.runs.data_workers import naming_dead_workers
from convnext_dense.runs.peer_processes import ending_together
from convnext_dense.runs.work_folder import lock, resolve_checkpoint
from convnext_dense.weights import read_checkpoint
from convnext_dense.weights.checkpoints import check_parts, has_masks, trained_classes

# The figures that a test prints last, of whatever task.
HEADLINE = ("bbox_mAP", "segm_mAP", "mIoU", "top1", "top5", "top1_ema", "top5_ema")


@refusing_pickles()
def test(args: argparse.Namespace, custom: CustomData | None = None) -> None:
    """Tests what ``tools/test.py`` was asked for (see its ``--help`` for the flags)."""
    launcher.announce(args.launcher)
    read_switch()  # a wrong value is named before anything is read
    checkpoint = resolve_checkpoint(args.checkpoint)
    work_dir = Path(args.work_dir or Path("work_dirs") / f"{Path(args.config).stem}_test")
    cfg = test_config(args, checkpoint, custom)
    cfg.work_dir = str(work_dir)
    is_first = launcher.rank(args.launcher) == 0
    if is_first:
        lock(work_dir)
        for path in (work_dir / "metrics.json", args.out and Path(args.out)):
            if path and (kept := keep_previous(path)):
                print_log(f"An earlier {path.name} is kept as {kept}.")
    runner = build_runner(cfg)
    again = "Start the same command again."
    with (
        ending_together(again),
        naming_dead_workers(again),
        failures_in_log_file(runner.logger),
    ):
        metrics = runner.test()
    if is_first:
        if args.tta:
            print(time_line(runner.message_hub.runtime_info[TEST_FACTS]))
        print(f"{headline(metrics)}  ({work_dir / 'metrics.json'})")


def test_config(
    args: argparse.Namespace, checkpoint: str, custom: CustomData | None = None
) -> Config:
    """The config of a test: the checkpoint's classes and branches, the flags' limits and files."""
    content = read_checkpoint(checkpoint)
    model = load_config(args.config, cfg_options=args.cfg_options, require_data=False).model
    check_parts(model, content, checkpoint)
    cfg = load_config(
        args.config,
        data_root=args.data_root,
        cfg_options=args.cfg_options,
        launcher=args.launcher,
        splits=("test",),
        classes=trained_classes(content),
        custom=custom,
    )
    if "roi_head" in cfg.model and not has_masks(content):
        drop_mask_branch(cfg)
    cfg.load_from, cfg.resume = checkpoint, False
    # Only the test is run: nothing of the other splits is opened.
    for key in ("dataloader", "cfg"):
        cfg.pop(f"train_{key}", None)
        cfg.pop(f"val_{key}", None)
    for key in ("val_evaluator", "optim_wrapper", "param_scheduler"):
        cfg.pop(key, None)
    if args.tta:
        use_views(cfg)
    if args.limit is not None:
        limit(cfg, args.limit)
    if args.show_dir:
        pictures = str(Path(args.show_dir).resolve())
        if launcher.world_size(args.launcher) > 1:
            print_log("--show-dir: only the first process draws its share of the pictures.")
        cfg.default_hooks.visualization.update(draw=True, test_out_dir=pictures)
    if args.out:
        for evaluator in evaluators(cfg, "test"):
            evaluator.outfile = str(Path(args.out).resolve())  # found again from anywhere
    keep_scores(cfg, "test")
    return cfg


def headline(metrics: dict[str, float]) -> str:
    """The figures that a test prints last."""
    short = {name.split("/", 1)[-1]: value for name, value in metrics.items()}
    names = [name for name in HEADLINE if name in short]
    return "  ".join(f"{name} {short[name]:.3f}" for name in names)


def time_line(facts: dict[str, int | float]) -> str:
    """What testing in several views costs, beside the plain test."""
    return (
        f"{facts['tta_views']} views: {facts['seconds_per_image']:.3f} s per picture; "
        f"single scale: {facts['seconds_per_image_single']:.3f} s (its first pictures)"
    )


def limit(cfg: Config, pictures: int) -> None:
    """Tests the first ``pictures`` pictures only."""
    if pictures < 1:
        raise UserError(f"--limit must be at least 1, got {pictures}.")
    for dataset in datasets(cfg, "test"):
        dataset.indices = pictures
