"""Tests a checkpoint, or an exported model."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from convnext_dense.atomic_files import keep_previous
from convnext_dense.browse.fonts import drawing_names
from convnext_dense.cli.shared import arguments
from convnext_dense.cli.shared.run_end import format_headline, say_end_of_test
from convnext_dense.cli.shared.surroundings import surrounded
from convnext_dense.config import launcher
from convnext_dense.config.config_tree import datasets, evaluators
from convnext_dense.config.load import load_config
from convnext_dense.config.safe_reading import safe_reading
from convnext_dense.config.settled_config import SettledConfig
from convnext_dense.data.bands.settings import start_of
from convnext_dense.data.fit import settle_with_data
from convnext_dense.data.own import flags as own_data_flags
from convnext_dense.data.own.own_data import OwnData
from convnext_dense.engine.hooks import TEST_FACTS
from convnext_dense.engine.multi_view_test import use_views
from convnext_dense.engine.runner import DenseRunner, build_runner
from convnext_dense.errors import UserError
from convnext_dense.export.evaluation import settle_exported
from convnext_dense.finetune.average import use_average_alone
from convnext_dense.inference.model import is_export
from convnext_dense.inference.trained.tiled_views import use_tiles
from convnext_dense.kernels.availability import read_switch
from convnext_dense.preflight.start_page import start_page
from convnext_dense.runs.checkpointing import add_to_meta
from convnext_dense.runs.console import LogText
from convnext_dense.runs.work_folder import BEGUN, checkpoint_of, lock
from convnext_dense.tasks import OF_AVERAGE, task_of
from convnext_dense.trackers.choose import settle_trackers
from convnext_dense.weights import read_checkpoint
from convnext_dense.weights.checkpoints import (
    BEST_THRESHOLDS,
    check_parts,
    take_average,
    trained_classes,
)

AGAIN = "Start the same command again."


@dataclass(frozen=True)
class TestFlags:
    """See ``tools/test.py --help``; names and meanings are those of the flags.

    Attributes:
        own_data: The data of ``--val-json``, ``--images`` ..., or None.
    """

    __test__ = False  # for pytest: no test class

    config: str
    checkpoint: str | None = None
    work_dir: str | None = None
    data_root: str | None = None
    cfg_options: dict[str, Any] | None = None
    show_dir: str | None = None
    out: str | None = None
    limit: int | None = None
    tta: bool = False
    ema: bool = False
    log: Sequence[str] | None = None
    tile: int | None = None
    overlap: float = 0.2
    whole: bool = False
    launcher: str = "none"
    own_data: OwnData | None = None


def read_flags(args: argparse.Namespace) -> TestFlags:
    """The flags of a parsed command line."""
    arguments.set_local_rank(args.local_rank)
    own = own_data_flags.from_args(args, ("test",))
    return arguments.to_flags(TestFlags, args, own_data=own)


def run(args: argparse.Namespace) -> None:
    """The command."""
    test(read_flags(args))


@safe_reading()
def test(flags: TestFlags) -> None:
    """Tests a checkpoint: metrics file, results, images.

    Raises:
        UserError: For whatever can be found wrong before the first image.
    """
    launcher.announce(flags.launcher)
    read_switch()  # a wrong value is named before anything is read
    checkpoint = _tested(flags)
    work_dir = work_folder(flags)
    is_first = launcher.rank(flags.launcher) == 0
    if flags.own_data is not None:
        if is_first:
            lock(work_dir)
        own_data = replace(flags.own_data, folder=work_dir / "data", is_first=is_first)
        flags = replace(flags, own_data=own_data)
    cfg = test_config(flags, checkpoint)
    if is_first:
        lock(work_dir)
        for path in (work_dir / "metrics.json", flags.out and Path(flags.out)):
            if path and (kept := keep_previous(path)):
                print_log(f"An earlier {path.name} is kept as {kept}.")
    runner = build_runner(cfg)
    page = start_page(runner, ("test",), checkpoint)
    runner.logger.info(LogText(page.plain, page))
    with surrounded(runner, AGAIN), drawing_names(_classes(cfg)):
        metrics = runner.test()
    if is_first:
        if not (flags.limit or flags.tta or flags.tile or is_export(checkpoint)):
            keep_thresholds(runner, Path(checkpoint), flags.ema)
        say_end_of_test(runner, checkpoint, flags.out, flags.show_dir, view_flags(flags))
        if flags.tta:
            print(time_line(runner.message_hub.runtime_info[TEST_FACTS]))
        if metrics:
            print(f"{format_headline(metrics)}  ({work_dir / 'metrics.json'})")


def _tested(flags: TestFlags) -> str:
    """The checkpoint, or the folder of the exported model.

    Raises:
        UserError: When there is none, and for flags that an exported model does not know.
    """
    folder = Path(flags.config).parent if flags.checkpoint is None else flags.checkpoint
    if not is_export(folder):
        return checkpoint_of(flags.config, flags.checkpoint)
    if view_flags(flags):
        raise UserError(
            f"{folder} is an exported model, which is tested on whole images as they are: leave "
            f"{view_flags(flags)[0]} out, or test the checkpoint that it was exported from."
        )
    return str(folder)


def keep_thresholds(runner: DenseRunner, checkpoint: Path, ema: bool = False) -> None:
    """Stores the best thresholds in a run's checkpoint that has none, for ``--threshold best``.

    Those of an evaluation in its training stay, and so do files that are no run's of one's own, and
    folders in which a training goes on.
    """
    found = runner.message_hub.runtime_info.get(BEST_THRESHOLDS)
    if not found or not (checkpoint.parent / BEGUN).is_file():
        return
    key = f"{BEST_THRESHOLDS}{OF_AVERAGE}" if ema else BEST_THRESHOLDS
    if (read_checkpoint(checkpoint).get("meta") or {}).get(key):
        return
    try:
        lock(checkpoint.parent)
    except UserError as error:
        print_log(f"The best thresholds are in metrics.json alone. {error}")
        return
    add_to_meta(checkpoint, key, found)


def work_folder(flags: TestFlags) -> Path:
    """The folder of the test."""
    config = Path(flags.config)
    name = config.parent.resolve().name if is_export(config.parent) else config.stem
    return Path(flags.work_dir or Path("work_dirs") / f"{name}_test")


def view_flags(flags: TestFlags) -> list[str]:
    """The flags by which a test looks at its images otherwise, or takes other weights."""
    tiles = ["--tile", str(flags.tile), "--overlap", str(flags.overlap)] if flags.tile else []
    switches = dict(ema="--ema", tta="--tta", whole="--whole")
    return [*(flag for name, flag in switches.items() if getattr(flags, name)), *tiles]


def _classes(cfg: Config) -> tuple[str, ...]:
    """The class names that drawings show; none for a task that names them elsewhere."""
    named = [(data.get("metainfo") or {}).get("classes") for data in datasets(cfg, "test")]
    return tuple(named[0]) if named and not isinstance(named[0], str) and named[0] else ()


def test_config(flags: TestFlags, checkpoint: str) -> Config:
    """The config of a test: the checkpoint's classes and branches, the flags' limits and files."""
    read = dict(data_root=flags.data_root, cfg_options=flags.cfg_options, launcher=flags.launcher)
    if is_export(checkpoint):
        draws = bool(flags.show_dir)
        settled = settle_exported(Path(checkpoint), flags.config, draws, flags.own_data, **read)
    else:
        settled = _settle_checkpoint(flags, checkpoint, **read)
    with settled.changing("a test opens nothing of the other splits") as cfg:
        _keep_test_alone(cfg)
    _apply_flags(settled, flags)
    settle_trackers(settled, flags.log)
    with settled.changing("the scores that the evaluators read") as cfg:
        task_of(cfg).keep_scores(cfg, "test")
    return settled.cfg


def _settle_checkpoint(flags: TestFlags, checkpoint: str, **read: Any) -> SettledConfig:
    """The config of a checkpoint's test."""
    content = read_checkpoint(checkpoint)
    if flags.ema:
        content = take_average(content, checkpoint)
    model = load_config(flags.config, cfg_options=flags.cfg_options).model
    check_parts(model, content, checkpoint)
    classes = trained_classes(content)
    settled = settle_with_data(
        flags.config,
        splits=("test",),
        classes=classes,
        own_data=flags.own_data and replace(flags.own_data, trained=classes),
        start=lambda: start_of(content),
        **read,
    )
    with settled.changing("the checkpoint") as cfg:
        task_of(cfg).fit_to_checkpoint(cfg, content, checkpoint)
        cfg.load_from, cfg.resume = checkpoint, False
    return settled


def _keep_test_alone(cfg: Config) -> None:
    for key in ("dataloader", "cfg"):
        cfg.pop(f"train_{key}", None)
        cfg.pop(f"val_{key}", None)
    for key in ("val_evaluator", "optim_wrapper", "param_scheduler"):
        cfg.pop(key, None)


def _apply_flags(settled: SettledConfig, flags: TestFlags) -> None:
    with settled.changing("the flags of the test") as cfg:
        cfg.work_dir = str(work_folder(flags))
        if flags.tta and flags.tile is not None:
            raise UserError("--tile and --tta are two kinds of views: give one of them.")
        if flags.ema:
            use_average_alone(cfg)
        if flags.tta:
            use_views(cfg)
        if flags.tile is not None:
            use_tiles(cfg, flags.tile, flags.overlap, flags.whole, draw=bool(flags.show_dir))
        if flags.limit is not None:
            limit(cfg, flags.limit)
        if flags.show_dir:
            folder = str(Path(flags.show_dir).resolve())
            if launcher.world_size(flags.launcher) > 1:
                print_log("--show-dir: only the first process draws its share of the images.")
            cfg.default_hooks.visualization.update(draw=True, test_out_dir=folder)
        if flags.out:
            for evaluator in evaluators(cfg, "test"):
                evaluator.outfile = str(Path(flags.out).resolve())  # found again from anywhere


def time_line(measured: dict[str, int | float]) -> str:
    """The time of testing in several views, beside that of the plain test."""
    return (
        f"{measured['tta_views']} views: {measured['seconds_per_image']:.3f} s per image; "
        f"single scale: {measured['seconds_per_image_single']:.3f} s (its first images)"
    )


def limit(cfg: Config, images: int) -> None:
    """Tests the first ``images`` images only."""
    if images < 1:
        raise UserError(f"--limit must be at least 1, got {images}.")
    for dataset in datasets(cfg, "test"):
        dataset.indices = images
