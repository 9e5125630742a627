"""Trains a detector, segmentor or classifier."""

import argparse
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from mmengine.config import Config

from convnext_dense.atomic_files import explaining_full_disks
from convnext_dense.cli.shared import arguments
from convnext_dense.cli.shared.run_end import say_end_of_training
from convnext_dense.cli.shared.surroundings import surrounded
from convnext_dense.cli.shared.train_flags import TrainFlags
from convnext_dense.cli.shared.train_settings import fit_settings, load_settings, work_folder
from convnext_dense.cli.shared.unlabelled_flags import UnlabelledFlags
from convnext_dense.config import launcher
from convnext_dense.config.load import load_config
from convnext_dense.config.safe_reading import safe_reading
from convnext_dense.config.settled_config import SettledConfig
from convnext_dense.data.image_scan import OpenedImage
from convnext_dense.data.own import flags as own_data_flags
from convnext_dense.data.own.own_data import OwnData
from convnext_dense.data.own.split_file import SPLIT_FILE, flags_of
from convnext_dense.engine.compiling import compile_blocks
from convnext_dense.engine.resuming.former import REFIT
from convnext_dense.engine.runner import DenseRunner, build_runner
from convnext_dense.engine.sharding import plain_model
from convnext_dense.kernels.availability import read_switch
from convnext_dense.preflight.data_check import check_data
from convnext_dense.preflight.dry_run import dry_run
from convnext_dense.preflight.replay import replay
from convnext_dense.preflight.start_check import check_space, check_weights
from convnext_dense.preflight.start_page import start_page
from convnext_dense.runs.console import LogText
from convnext_dense.runs.signals import request
from convnext_dense.runs.starting_weights import choose_weights
from convnext_dense.runs.work_folder import claim, lock, refuse_used

ROOM = "Make room and start again with --resume."
DATA = "data"  # what is made of own data, in the work folder
AGAIN = "Start the same command again, on every machine, with --resume."


def read_flags(args: argparse.Namespace, unlabelled: UnlabelledFlags | None = None) -> TrainFlags:
    """The flags of a parsed command line, with those of a pretraining without labels."""
    arguments.set_local_rank(args.local_rank)
    if args.resume is not None:
        take_written_split(args)
    own = own_data_flags.from_args(args, ("train", "val", "test"))
    return arguments.to_flags(TrainFlags, args, own_data=own, unlabelled=unlabelled)


def take_written_split(args: argparse.Namespace) -> None:
    """The split of the run that is resumed, where no flag names validation data."""
    path = work_folder(args) / DATA / SPLIT_FILE
    if own_data_flags.names_validation(args) or not path.is_file():
        return
    written = flags_of(path)
    args.val_share, args.group_by = written["share"], args.group_by or written["group_by"]


def run(args: argparse.Namespace) -> None:
    """The command."""
    train(read_flags(args))


@safe_reading()
def train(flags: TrainFlags) -> Config:
    """Trains: the one road from flags to a trained model.

    Returns:
        The config as it was run.

    Raises:
        UserError: For whatever can be found wrong before the first step.
    """
    request.place = " before the first iteration: there is nothing to save"
    if flags.replay:
        return repeat_step(flags)
    launcher.announce(flags.launcher)
    read_switch()  # a wrong value is named before anything is read
    flags.check()
    with ExitStack() as made:  # a dry run leaves nothing of what it makes of own data
        if flags.own_data is not None:
            flags = replace(flags, own_data=place_data(flags, made))
        settled = load_settings(flags)
        fit_settings(settled, flags)
        settle_weights(settled, flags)
        opened = check_data(settled.cfg, flags.scan)
        if flags.dry_run:
            print(dry_run(settled, opened, resume=flags.resume is not None))
            return settled.cfg
        # Before the runner is built: mmengine's writes its log and config when it is.
        claim_folder(settled.cfg, flags)
        with explaining_full_disks(f"The work folder {settled.cfg.work_dir}", ROOM):
            runner = build_runner(settled.cfg)
            check_runner(runner, flags, opened)
            with surrounded(runner, AGAIN):
                runner.train()
            if runner.rank == 0:
                say_end_of_training(runner)
    return settled.cfg


def place_data(flags: TrainFlags, made: ExitStack) -> OwnData:
    """The own data of a run, with the place of the files that are made of it."""
    return replace(
        flags.own_data,
        folder=data_folder(flags, made),
        resume=flags.resume is not None,
        is_first=launcher.rank(flags.launcher) == 0,
    )


def data_folder(flags: TrainFlags, made: ExitStack) -> Path:
    """Where files that are made of own data go; those of a dry run are gone when it ends."""
    if flags.dry_run:
        return Path(made.enter_context(tempfile.TemporaryDirectory(prefix="convnext_dense_data_")))
    if launcher.rank(flags.launcher) == 0:  # another run's data stays as it is
        refuse_used(work_folder(flags), resume=flags.resume is not None)
        lock(work_folder(flags))
    return work_folder(flags) / DATA


def settle_weights(settled: SettledConfig, flags: TrainFlags) -> None:
    """Settles where the weights come from."""
    with settled.changing("the weights to start from") as cfg:
        choose_weights(
            cfg,
            resume=flags.resume,
            load_from=flags.load_from,
            backbone_weights=flags.backbone_weights,
            ema=flags.ema,
            prefix=flags.weights_prefix,
            is_trial=flags.max_iters is not None,
        )
    if flags.warm_restart and settled.cfg.resume:
        with settled.changing("--warm-restart") as cfg:
            cfg[REFIT] = dict(restart=True)  # the runner knows from which iteration on


def claim_folder(cfg: Config, flags: TrainFlags) -> None:
    """Takes the work folder, in the first process."""
    if launcher.rank(flags.launcher) == 0:
        processes = launcher.world_size(flags.launcher)
        claim(Path(cfg.work_dir), resume=flags.resume is not None, processes=processes)


def check_runner(
    runner: DenseRunner, flags: TrainFlags, opened: dict[str, list[OpenedImage]]
) -> None:
    """Compares weights and disk space with the built model; compiles it if asked to."""
    weights = check_weights(runner)
    check_space(runner.cfg, plain_model(runner), Path(runner.work_dir))
    page = start_page(runner, ("train", "val"), weights, opened)
    runner.logger.info(LogText(page.plain, page))
    if flags.compile:
        compile_blocks(plain_model(runner), flags.shape_buckets)


def repeat_step(flags: TrainFlags) -> Config:
    """Repeats the step of ``--replay``; needs the config and no data."""
    cfg = load_config(
        flags.config, data_root=flags.data_root, cfg_options=flags.cfg_options, amp=flags.amp
    )
    print("\n".join(replay(cfg, flags.replay)))
    return cfg
