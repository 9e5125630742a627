"""The settings of a training: its config with flags, data and machine, each change recorded."""

from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config

from convnext_dense.cli.shared.train_flags import TrainFlags
from convnext_dense.config import launcher
from convnext_dense.config.load import settle_config
from convnext_dense.config.machine import use_fused_optimizer
from convnext_dense.config.settled_config import SettledConfig
from convnext_dense.data.bands.reading import check_range
from convnext_dense.data.bands.settings import Start, start_of
from convnext_dense.data.fit import fit_to_data
from convnext_dense.data.fit_batch import fit_batch
from convnext_dense.data.fit_schedule import LEARNING_RATE, fit_schedule
from convnext_dense.data.own.own_data import own_data_step
from convnext_dense.data.schedule_table import format_schedule_table
from convnext_dense.engine.accumulation import accumulate
from convnext_dense.engine.sharding import use_fsdp
from convnext_dense.errors import UserError
from convnext_dense.finetune.settle import settle_finetuning
from convnext_dense.finetune.settle_data import settle_data
from convnext_dense.optim.stepping import schedule_end
from convnext_dense.preflight.memory.fit import fit_memory
from convnext_dense.preflight.memory.setting import (
    ACCUMULATION,
    batches_a_step,
    keep_setting,
    kept_setting,
)
from convnext_dense.runs import AUTO
from convnext_dense.runs.checkpointing import newest_whole
from convnext_dense.tasks import task_of
from convnext_dense.trackers.choose import settle_trackers
from convnext_dense.weights import read_checkpoint
from convnext_dense.weights.reading import is_elsewhere

BATCH_SIZE = "train_dataloader.batch_size"
SPLITS = ("train", "val")


def work_folder(flags: TrainFlags) -> Path:
    """The folder of the run."""
    return Path(flags.work_dir or Path("work_dirs") / Path(flags.config).stem)


def load_settings(flags: TrainFlags) -> SettledConfig:
    """Reads the config and applies what flags and machine say; reads no data."""
    settled = settle_config(
        flags.config,
        data_root=flags.data_root,
        cfg_options=flags.cfg_options,
        amp=flags.amp,
        launcher=flags.launcher,
        before_options=_before_options(flags),
    )
    with settled.changing("--work-dir, --seed, --deterministic") as cfg:
        cfg.work_dir = str(work_folder(flags))
        cfg.randomness = dict(seed=flags.seed, deterministic=flags.deterministic)
    with settled.changing("torch can update all parameters at once here") as cfg:
        use_fused_optimizer(cfg)
    with settled.changing("scores are kept only where an evaluator reads them") as cfg:
        task_of(cfg).keep_scores(cfg, "val")
    if flags.auto_scale_lr:
        with settled.changing("--auto-scale-lr") as cfg:
            _scale_learning_rate(cfg, flags.config)
    if flags.fsdp:
        with settled.changing("--fsdp") as cfg:
            use_fsdp(cfg)
    settle_trackers(settled, flags.log)
    if flags.accumulate is not None:
        with settled.changing("--accumulate") as cfg:
            accumulate(cfg, flags.accumulate)
    return settled


def _before_options(flags: TrainFlags) -> Callable[[Config], None] | None:
    """What flags put into the config before ``--cfg-options``, which win over it."""
    unlabelled = flags.unlabelled.apply if flags.unlabelled else None
    own_data = own_data_step(flags.own_data, flags.cfg_options)
    steps = [step for step in (unlabelled, own_data) if step is not None]
    if not steps:
        return None

    def take_steps(cfg: Config) -> None:
        for step in steps:
            step(cfg)

    return take_steps


def fit_settings(settled: SettledConfig, flags: TrainFlags) -> None:
    """Fits classes and heads to the data, and with own data the schedule; then ``--max-iters``."""
    value_range = flags.value_range and check_range(flags.value_range)
    fit_to_data(
        settled,
        SPLITS,
        data_root=flags.data_root,
        value_range=value_range,
        start=lambda: _start(settled.cfg, flags),
    )
    flags, said = settle_data(settled, flags)
    settle_finetuning(settled, flags)
    if said and launcher.rank(flags.launcher) == 0:
        print(said)
    fit_to_memory(settled, flags)
    if flags.own_data is not None:
        fit = _fit_schedule if task_of(settled.cfg).fits_schedule else _fit_batch
        fit(settled, flags)
    if flags.max_iters is not None:
        with settled.changing("--max-iters") as cfg:
            stop_after(cfg, flags.max_iters, flags.cfg_options or {})


def fit_to_memory(settled: SettledConfig, flags: TrainFlags) -> None:
    """Applies ``--fit-memory``, or what it decided for the run that is resumed."""
    options = dict(flags.cfg_options or {})
    if flags.accumulate is not None:
        options[ACCUMULATION] = flags.accumulate
    common = dict(
        processes=launcher.world_size(flags.launcher), refitted=_fits_schedule(settled.cfg, flags)
    )
    kept = _kept_memory(flags)
    if kept is not None:
        said = keep_setting(settled, kept, options, **common)
    elif flags.fit_memory is not None:
        common.update(own_data=flags.own_data is not None, shape_buckets=flags.shape_buckets)
        said = fit_memory(settled, flags.fit_memory, options, **common)
    else:
        return
    if launcher.rank(flags.launcher) == 0:
        print(said)
        if flags.compile:
            print("  Predicted without --compile, whose steps need other amounts.")


def _fits_schedule(cfg: Config, flags: TrainFlags) -> bool:
    return flags.own_data is not None and task_of(cfg).fits_schedule


def _kept_memory(flags: TrainFlags) -> dict | None:
    """The decision in the checkpoint that is resumed; None without a checkpoint, or without both.

    Raises:
        UserError: For ``--fit-memory`` on a run that began without it.
    """
    if flags.resume is None:
        return None
    source = newest_whole(work_folder(flags)) if flags.resume == AUTO else flags.resume
    if source is None or not Path(source).is_file():
        return None
    kept = kept_setting(read_checkpoint(source))
    if kept is None and flags.fit_memory is not None:
        raise UserError(
            f"{source} is of a run without --fit-memory, and its iterations are counted in its own "
            "batches: leave the flag out, or start a new run from its weights with --load-from."
        )
    return kept


def _start(cfg: Config, flags: TrainFlags) -> Start | None:
    """What the checkpoint that the run starts from says of its images."""
    source = flags.load_from or cfg.get("load_from")
    if flags.resume:
        source = newest_whole(Path(cfg.work_dir)) if flags.resume == AUTO else flags.resume
    if source is None or not (is_elsewhere(str(source)) or Path(source).is_file()):
        return None
    return start_of(read_checkpoint(source))


def _scale_learning_rate(cfg: Config, name: str) -> None:
    if "auto_scale_lr" not in cfg:
        raise UserError(f"{name} names no batch size to scale from (auto_scale_lr).")
    cfg.auto_scale_lr.enable = True


def _fit_schedule(settled: SettledConfig, flags: TrainFlags) -> None:
    """Fits learning rate and schedule to own data, and prints the recipe's beside the run's."""
    recipe, options = settled.recipe, flags.cfg_options or {}
    with settled.changing("the size of your own data") as cfg:
        if LEARNING_RATE in options and not flags.auto_scale_lr:
            cfg.pop("auto_scale_lr", None)  # a learning rate that was given is meant
        elif "auto_scale_lr" in cfg:
            cfg.auto_scale_lr.enable = True
        processes = launcher.world_size(flags.launcher)
        fitted = fit_schedule(
            cfg, recipe, options, flags.epochs, processes, batches_a_step(settled)
        )
    if launcher.rank(flags.launcher) == 0:
        print(format_schedule_table(settled.cfg, recipe, fitted, flags.max_iters))


def _fit_batch(settled: SettledConfig, flags: TrainFlags) -> None:
    """Makes one batch of own data that are fewer than one, and says so."""
    before = settled.cfg.train_dataloader.batch_size
    if BATCH_SIZE in (flags.cfg_options or {}):
        return
    with settled.changing("fewer images of your own than a batch") as cfg:
        images = fit_batch(cfg, launcher.world_size(flags.launcher))
    now = settled.cfg.train_dataloader.batch_size
    if now != before and launcher.rank(flags.launcher) == 0:
        scaled = (settled.cfg.get("auto_scale_lr") or {}).get("enable")
        print(
            f"{BATCH_SIZE} {before} -> {now}: the {images:,} training images are fewer than a "
            f"batch of the recipe. The learning rate {'is scaled with it' if scaled else 'stays'}; "
            f"--cfg-options {BATCH_SIZE}=N sets another batch."
        )


def stop_after(cfg: Config, max_iters: int, cfg_options: dict) -> None:
    """Ends a run after ``max_iters`` iterations, with an evaluation and a checkpoint there.

    The schedule stays the recipe's. Checkpoints count iterations from here on; their interval is
    the whole run unless ``--cfg-options default_hooks.checkpoint.interval=`` says otherwise.
    """
    cfg.train_cfg.max_iters = min(max_iters, schedule_end(cfg) or max_iters)
    checkpoint = cfg.default_hooks.checkpoint
    checkpoint.by_epoch = False
    if "default_hooks.checkpoint.interval" not in cfg_options:
        checkpoint.interval = max_iters
    logger = cfg.default_hooks.logger
    logger.interval = max(1, min(logger.interval, max_iters // 10))
