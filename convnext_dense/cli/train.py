"""The training run: flags into the config, a claimed work folder, a runner."""

import argparse
import logging
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.logging import print_log

from convnext_dense import weights
from convnext_dense.cli.arguments import AUTO
from convnext_dense.config import launcher
from convnext_dense.config.load import load_config, read_config
from convnext_dense.config.safe_reading import refusing_pickles
from convnext_dense.data.fit_schedule import LEARNING_RATE, fit_schedule
from convnext_dense.data.labels.fit_config import keep_scores
from convnext_dense.data.own_data import CustomData
from convnext_dense.data.schedule_table import format_fit
from convnext_dense.engine.compiling import compile_blocks
from convnext_dense.engine.fused_kernels import failures_in_log_file
from convnext_dense.engine.runner import build_runner
from convnext_dense.engine.sharding import use_fsdp
from convnext_dense.errors import UserError
from convnext_dense.kernels.availability import read_switch
from convnext_dense.preflight.data_check import check_data
from convnext_dense.preflight.dry_run import dry_run
from convnext_dense.preflight.replay import replay
from convnext_dense.preflight.start_check import check_space, check_weights, plain_model
from convnext_dense.runs.atomic_files import naming_full_disks
from convnext_dense.runs.checkpointing import newest_whole
from convnext_dense.runs.data_workers import naming_dead_workers
from convnext_dense.runs.peer_processes import ending_together
from convnext_dense.runs.signals import request
from convnext_dense.runs.work_folder import claim, resolve_checkpoint
from convnext_dense.weights.loading import find_state_dict

FUSED = ("Adam", "AdamW", "SGD")  # optimizers that torch has so on CPUs and NVIDIA GPUs


@refusing_pickles()
def train(args: argparse.Namespace, custom: CustomData | None = None) -> Config:
    """Trains what a tool was asked for (see ``tools/train.py --help`` for the flags).

    Returns:
        The config as it was run.
    """
    request.place = " before the first iteration: there is nothing to save"
    if args.replay:
        return repeat_step(args)
    launcher.announce(args.launcher)
    read_switch()  # a wrong value is named before anything is read
    cfg = training_config(args, custom)
    work_dir = Path(cfg.work_dir)
    for flag in ("dry_run", "scan"):
        if vars(args)[flag] and args.launcher != "none":
            raise UserError(
                f"--{flag.replace('_', '-')} runs in one process: leave out --launcher."
            )
    if args.shape_buckets is not None and not args.compile:
        raise UserError("--shape-buckets is for compiled blocks: add --compile, or leave it out.")
    start_from(cfg, args, work_dir)
    opened = check_data(cfg, args.scan)
    if args.dry_run:
        print(dry_run(cfg, read_config(args.config), opened, resume=args.resume is not None))
        return cfg
    if launcher.rank(args.launcher) == 0:
        processes = launcher.world_size(args.launcher)
        claim(work_dir, resume=args.resume is not None, processes=processes)
    again = "Start the same command again, on every machine, with --resume."
    room = "Make room and start again with --resume."
    with naming_full_disks(f"The work folder {work_dir}", room):
        runner = build_runner(cfg)
        runner.logger.info(f"Weights: {check_weights(runner)}.")
        check_space(cfg, plain_model(runner), work_dir)
        if args.compile:
            compile_blocks(plain_model(runner), args.shape_buckets)
        with (
            ending_together(again),
            naming_dead_workers(again),
            failures_in_log_file(runner.logger),
        ):
            runner.train()
    return cfg


def repeat_step(args: argparse.Namespace) -> Config:
    """Repeats the step of ``--replay``; needs the config and no data."""
    options = dict(data_root=args.data_root, cfg_options=args.cfg_options, amp=args.amp)
    cfg = load_config(args.config, require_data=False, **options)
    print("\n".join(replay(cfg, args.replay)))
    return cfg


def training_config(args: argparse.Namespace, custom: CustomData | None = None) -> Config:
    """The config of a run: the flags, the data, and with own data a schedule that fits it."""
    cfg = load_config(
        args.config,
        data_root=args.data_root,
        cfg_options=args.cfg_options,
        amp=args.amp,
        launcher=args.launcher,
        splits=("train", "val"),
        custom=custom,
    )
    cfg.work_dir = str(args.work_dir or Path("work_dirs") / Path(args.config).stem)
    cfg.randomness = dict(seed=args.seed, deterministic=args.deterministic)
    use_fused_optimizer(cfg)
    keep_scores(cfg, "val")
    if args.auto_scale_lr:
        if "auto_scale_lr" not in cfg:
            raise UserError(f"{args.config} names no batch size to scale from (auto_scale_lr).")
        cfg.auto_scale_lr.enable = True
    if args.fsdp:
        use_fsdp(cfg)
    if args.accumulate is not None:
        accumulate(cfg, args.accumulate)
    if custom is not None:
        fit_to_custom_data(cfg, args)
    if args.max_iters is not None:
        shorten(cfg, args.max_iters, args.cfg_options or {})
    return cfg


def use_fused_optimizer(cfg: Config) -> None:
    """Has torch update all parameters in one pass, where the config says nothing about it.

    ConvNeXt-T on a CPU: a fifth of the time (docs/results.md). ``optimizer.fused=False`` is torch's
    usual one.
    """
    optimizer = cfg.optim_wrapper.optimizer
    chosen = {"fused", "foreach", "capturable", "differentiable"} & set(optimizer)
    if optimizer.type in FUSED and get_device() in ("cpu", "cuda") and not chosen:
        optimizer.fused = True


def fit_to_custom_data(cfg: Config, args: argparse.Namespace) -> None:
    """Fits rate and schedule to own data, and says what the recipe has and what this run has."""
    recipe, options = read_config(args.config), args.cfg_options or {}
    if LEARNING_RATE in options and not args.auto_scale_lr:
        cfg.pop("auto_scale_lr", None)  # a rate that was given is meant
    elif "auto_scale_lr" in cfg:
        cfg.auto_scale_lr.enable = True
    fit = fit_schedule(cfg, recipe, options, args.epochs, launcher.world_size(args.launcher))
    if launcher.rank(args.launcher) == 0:
        print(format_fit(cfg, recipe, fit, args.max_iters))


def accumulate(cfg: Config, batches: int) -> None:
    """Makes a step of the optimizer of several batches.

    A sampler that can end an epoch with a whole step (``step_size``) is told to; with others, a
    step may begin in one epoch and end in the next.
    """
    if batches < 1:
        raise UserError(f"--accumulate must be at least 1, got {batches}.")
    cfg.optim_wrapper.accumulative_counts = batches
    sampler = cfg.train_dataloader.sampler
    if "step_size" in sampler:
        sampler.step_size = batches * cfg.train_dataloader.batch_size


def shorten(cfg: Config, max_iters: int, cfg_options: dict) -> None:
    """Ends a run after ``max_iters`` iterations, with an evaluation and a checkpoint there.

    The schedule stays the recipe's. Checkpoints count iterations from here on; their interval is
    the whole run unless ``--cfg-options default_hooks.checkpoint.interval=`` says otherwise.
    """
    if max_iters < 1:
        raise UserError(f"--max-iters must be at least 1, got {max_iters}.")
    recipe = cfg.train_cfg.get("max_iters", max_iters)  # where the recipe counts iterations
    cfg.train_cfg.max_iters = min(max_iters, recipe)
    checkpoint = cfg.default_hooks.checkpoint
    checkpoint.by_epoch = False
    if "default_hooks.checkpoint.interval" not in cfg_options:
        checkpoint.interval = max_iters
    logger = cfg.default_hooks.logger
    logger.interval = max(1, min(logger.interval, max_iters // 10))


def start_from(cfg: Config, args: argparse.Namespace, work_dir: Path) -> None:
    """Settles where the weights come from: a resumed run, ``--load-from``, or the recipe's file."""
    for flag, path in (("--resume", args.resume), ("--load-from", args.load_from)):
        if path in (None, AUTO) or Path(path).is_file():
            continue
        if flag == "--resume" or not weights.is_elsewhere(path):
            raise UserError(f"{flag} names {path}, which does not exist.")
        weights.local_file(path)  # an address or an official name: at hand before anything is built
    if cfg.get("resume"):  # the resolved config of a resumed run, trained again
        cfg.load_from = None
    found = newest_whole(work_dir) if args.resume == AUTO else args.resume
    cfg.resume = found is not None
    cfg.load_from = str(found) if found else args.load_from or cfg.get("load_from")
    if args.resume and not found:
        print_log(f"{work_dir} holds no checkpoint to resume: starting from the beginning.")
    backbone = cfg.model.get("backbone", {})
    if args.ema and not args.backbone_weights:
        raise UserError("--ema belongs to --backbone-weights: name the pretraining run too.")
    if args.backbone_weights:
        if args.load_from:
            raise UserError("--backbone-weights and --load-from exclude each other: give one.")
        hand_over(backbone, resolve_checkpoint(args.backbone_weights), args.ema)
    if cfg.get("load_from"):
        backbone.init_cfg = None  # the checkpoint holds the backbone
    elif (backbone.get("init_cfg") or {}).get("type") == "Pretrained":
        fetch_weights(backbone, trial=args.max_iters is not None)


def hand_over(backbone: ConfigDict, checkpoint: str, ema: bool) -> None:
    """Starts the backbone from a pretraining checkpoint instead of the recipe's file.

    Raises:
        UserError: When there is no such checkpoint, it has no averaged weights though ``ema`` asks
            for them, or the backbone is no ConvNeXt.
    """
    if not str(backbone.get("type", "")).startswith("ConvNeXt"):
        raise UserError(
            f"--backbone-weights starts a ConvNeXt, but the backbone is {backbone.get('type')}."
        )
    content = weights.read_checkpoint(checkpoint)
    if ema:
        try:
            find_state_dict(content, ema=True)
        except UserError as error:
            raise UserError(
                f"--ema: {checkpoint} has no averaged weights; leave --ema out to take the "
                "plain ones."
            ) from error
    backbone.init_cfg = dict(type="Pretrained", checkpoint=checkpoint, ema=ema)


def fetch_weights(backbone: ConfigDict, trial: bool) -> None:
    """Has the starting weights at hand before anything is built.

    Args:
        backbone: Config of the backbone; a trial that starts from random weights changes it.
        trial: A run shortened by ``--max-iters`` may start from random weights where they cannot
            be downloaded. A full run may not: it would take days to show that they were missing.

    Raises:
        UserError: When a full run's weights are out of reach, or a named file does not exist.
    """
    source = str(backbone.init_cfg.checkpoint)
    try:
        weights.local_file(source, backbone.init_cfg.get("sha256"))
    except UserError as error:
        if not trial or not weights.is_elsewhere(source):
            raise
        print_log(
            f"{error} This shortened run starts from RANDOM weights; a full run would stop here.",
            level=logging.WARNING,
        )
        backbone.init_cfg = None
