"""``--dry-run``: the run's own parts on one training step and two images to evaluate, and a page.

Everything is built and run by the runner from the resolved config, in a temporary folder; the
work folder is not touched.
"""

import contextlib
import io
import math
import tempfile
from copy import deepcopy
from pathlib import Path

import torch
from mmengine.config import Config

from convnext_dense.config.config_tree import datasets
from convnext_dense.config.settled_config import SettledConfig
from convnext_dense.data.fit_schedule import batch_of, iterations_per_epoch, plan_of, rate_of
from convnext_dense.data.image_scan import OpenedImage
from convnext_dense.engine.resuming.adapt import adapt
from convnext_dense.engine.resuming.table import resumed_lines
from convnext_dense.engine.runner import DenseRunner, build_runner, scale_rates
from convnext_dense.engine.sharding import plain_model
from convnext_dense.errors import UserError
from convnext_dense.preflight.dry_run_page import ResumedRun, format_page
from convnext_dense.preflight.start_check import check_space, check_weights
from convnext_dense.preflight.step_probe import StepMeasurements, StepProbe
from convnext_dense.runs.checkpointing import check_resumable
from convnext_dense.runs.work_folder import refuse_used
from convnext_dense.weights import read_checkpoint

EVALUATED = 2  # images
ON_CPU = 2  # images of the training step where there is no GPU; one has the run's own batch
LOADER_SETTINGS = ("prefetch_factor", "timeout")  # of worker processes


def dry_run(settled: SettledConfig, opened: dict[str, list[OpenedImage]], *, resume: bool) -> str:
    """Runs one training step and evaluates two images.

    Args:
        settled: The config of the run. That of a resumed one gets the schedule that it will have.
        opened: The result of :func:`convnext_dense.preflight.data_check.check_data`.
        resume: Whether the run resumes the one in its work folder.

    Returns:
        The page.

    Raises:
        UserError: For whatever would end the run at its start.
    """
    cfg = settled.cfg
    work_dir = Path(cfg.work_dir)
    refuse_used(work_dir, resume)
    with tempfile.TemporaryDirectory(prefix="dry_run_") as folder:
        trial = one_step_config(cfg, folder)
        measured = StepMeasurements(trial.train_dataloader.batch_size)
        with contextlib.redirect_stdout(io.StringIO()):  # mmengine's and pycocotools' output
            runner = build_runner(trial)
            weights = check_weights(runner)
            space = check_space(cfg, plain_model(runner), work_dir)
            resumed = _resumed(settled, runner) if cfg.resume else None
            runner._resume = False  # the weights of a resumed run, from the first iteration
            runner.register_hook(StepProbe(measured))
            runner.train()
        _check_step(measured)
        return format_page(settled, runner, measured, opened, weights, space, resumed)


def _resumed(settled: SettledConfig, runner: DenseRunner) -> ResumedRun:
    """The table of the checkpoint's run and this one, whose step has other images in the trial."""
    cfg = settled.cfg
    batch = batch_of(cfg, processes=1)
    per_epoch = iterations_per_epoch(cfg, len(runner.train_dataloader.dataset), batch)
    wrapper = runner.build_optim_wrapper(deepcopy(cfg.optim_wrapper))
    scale_rates(wrapper, rate_of(cfg, batch) / cfg.optim_wrapper.optimizer.lr)
    checkpoint = read_checkpoint(cfg.load_from)
    check_resumable(checkpoint, cfg.load_from)
    with settled.changing("what the resumed run has left") as cfg:
        plan = plan_of(cfg.train_cfg, per_epoch)
        found = adapt(checkpoint, cfg, wrapper, plan, cfg.load_from)
    return ResumedRun(found.iteration, resumed_lines(found, cfg, batch.accumulated))


def one_step_config(cfg: Config, folder: str) -> Config:
    """The config of one training step and an evaluation of two images, without checkpoints."""
    trial = deepcopy(cfg)
    trial.work_dir = folder
    trial.log_level = "ERROR"
    trial.launcher = "none"
    trial.train_cfg.max_iters = 1
    trial.default_hooks.checkpoint = None
    trial.default_hooks.pop("visualization", None)
    if "visualizer" in trial:
        trial.visualizer.vis_backends = []  # one would write on when the folder is gone
    if not torch.cuda.is_available():
        loader = trial.train_dataloader
        loader.batch_size = min(loader.batch_size, ON_CPU)
        if "step_size" in loader.sampler:
            loader.sampler.step_size = 1
    for split in ("train", "val"):
        loader = trial.get(f"{split}_dataloader") or {}
        if loader:
            loader.update(num_workers=0, persistent_workers=False)
        for name in LOADER_SETTINGS:
            loader.pop(name, None)
    for data in datasets(trial, "val"):
        data.indices = EVALUATED
    return trial


def _check_step(measured: StepMeasurements) -> None:
    if measured.taken:
        return
    wrong = [
        f"{name} {value}" for name, value in measured.losses.items() if not math.isfinite(value)
    ]
    raise UserError(
        f"The first training step gives {', '.join(wrong) or 'a gradient that is not finite'}: "
        "check images, labels and weights (convnext-dense browse shows them), or give --amp off."
    )
