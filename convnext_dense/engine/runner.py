"""mmengine's Runner with whole checkpoints, a report for new Pythons, honest scaling."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import master_only
from mmengine.model import MMDistributedDataParallel, is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from convnext_dense.atomic_files import (
    FULL,
    explaining_full_disks,
    keep_previous,
    replacing,
    write_atomically,
)
from convnext_dense.config.plain import format_python
from convnext_dense.config.renamed import rename_types
from convnext_dense.config.safe_reading import safe_reading
from convnext_dense.data.bands.load_image import connect_pipelines
from convnext_dense.data.class_names import check_classes
from convnext_dense.data.fit_schedule import plan_of
from convnext_dense.data.text_files import opening_annotation_files
from convnext_dense.engine.fused_kernels import log_choice
from convnext_dense.engine.gathering import GatheringHook
from convnext_dense.engine.random_state import seed_each_process, use_repeatable_kernels
from convnext_dense.engine.resuming.adapt import adapt
from convnext_dense.engine.resuming.former import EPOCH_LENGTH
from convnext_dense.engine.resuming.table import resumed_lines
from convnext_dense.engine.sharding import (
    describe_shards,
    divide_optimizer_state,
    is_sharded,
    load_gathered,
    shard_for_training,
)
from convnext_dense.errors import UserError
from convnext_dense.models.lora import add_adapters, reset_adapters
from convnext_dense.runs.checkpointing import check_resumable
from convnext_dense.runs.console import LogText, use_console
from convnext_dense.runs.data_workers import DataWorkerSetup
from convnext_dense.runs.processes import connect
from convnext_dense.runs.work_folder import environment
from convnext_dense.weights import read_checkpoint
from convnext_dense.weights.checkpoints import (
    check_backbone,
    compare,
    not_of_this_model,
    take_average,
)


@RUNNERS.register_module()
class DenseRunner(Runner):
    """mmengine's Runner, mended where a run loses work or says less than it should.

    While it builds, trains or tests, nothing unpickles a file beside it.
    """

    __init__ = safe_reading()(Runner.__init__)
    train = safe_reading()(Runner.train)
    val = safe_reading()(Runner.val)
    test = safe_reading()(Runner.test)

    def _log_env(self, env_cfg: dict[str, Any]) -> None:
        """Logs our own environment report: mmengine's needs distutils, gone in Python 3.12."""
        lines = {
            **environment(self.world_size),
            "seed": self.seed,
            "launcher": self._launcher,
            **env_cfg,
        }
        text = "\n".join(f"    {key}: {value}" for key, value in lines.items())
        self.logger.info(LogText(f"Environment:\n{text}\n"))
        self.logger.info(LogText(f"Config:\n{self.cfg.pretty_text}"))

    def set_randomness(
        self, seed: int | None, diff_rank_seed: bool = False, deterministic: bool = False
    ) -> None:
        """Seeds the random numbers, and chooses kernels that repeat themselves.

        All processes alike, whatever ``diff_rank_seed`` says: they begin with the same weights, and
        share one order of the images. :meth:`load_or_resume` parts them.
        """
        self._randomness_cfg = dict(seed=seed, deterministic=deterministic)
        super().set_randomness(**self._randomness_cfg)
        use_repeatable_kernels(deterministic)

    @property
    def config_file(self) -> Path:
        """The resolved config in the work folder."""
        return Path(self.work_dir) / f"{Path(self.cfg.filename or self.timestamp).stem}.py"

    @master_only
    def dump_config(self) -> None:
        """Writes the resolved config; one that differs from an earlier one does not replace it.

        That of a resumed run is written when its schedule is settled (:meth:`load_or_resume`).
        """
        if self._resume and self._train_loop is not None and not self._has_loaded:
            return
        path = self.config_file
        text = format_python(self.cfg.pretty_text)
        if path.exists() and path.read_text(encoding="utf-8") != text:
            kept = keep_previous(path)
            self.logger.info(f"The earlier config of this folder is kept as {kept}.")
        write_atomically(path, text)

    def register_default_hooks(self, hooks: dict[str, Any] | None = None) -> None:
        """Registers the default hooks; checkpoints are written by this project's hook."""
        hooks = {"checkpoint": dict(type="WholeCheckpointHook"), **(hooks or {})}
        super().register_default_hooks(rename_types(hooks))

    def build_visualizer(self, visualizer: Any = None) -> Any:
        """Builds the visualizer; scalars are logged by this project's backend."""
        if visualizer is None:
            visualizer = dict(
                type="Visualizer",
                name=self._experiment_name,
                vis_backends=[dict(type="JsonVisBackend")],
                save_dir=self._log_dir,
            )
        return super().build_visualizer(rename_types(visualizer))

    def build_logger(self, *args, **kwargs) -> logging.Logger:
        """Builds the logger, whose console is this project's.

        A full disk ends the run instead of printing a traceback a line.
        """
        logger = super().build_logger(*args, **kwargs)
        use_console(logger)
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                handler.handleError = _raise_if_full(handler.handleError)
        return logger

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        """Connects processes without GPUs through gloo, where mmengine asks for a CUDA device."""
        if self.distributed and not torch.cuda.is_available():
            connect(self.cfg)
        super().setup_env(env_cfg)

    @staticmethod
    @safe_reading()
    def build_dataloader(dataloader, *args, **kwargs) -> DataLoader:
        """Builds a loader whose errors name the image; its processes live until this one ends."""
        with opening_annotation_files():
            loader = Runner.build_dataloader(dataloader, *args, **kwargs)
        connect_pipelines(loader.dataset)
        if not isinstance(loader.worker_init_fn, DataWorkerSetup):
            loader.worker_init_fn = DataWorkerSetup(loader.worker_init_fn)
        return loader

    @safe_reading()
    @opening_annotation_files()
    def build_evaluator(self, evaluator: Any) -> Any:
        """Builds the metrics; mmdet's own open their annotation file."""
        return super().build_evaluator(evaluator)

    def build_optim_wrapper(self, *args, **kwargs) -> OptimWrapper:
        """Builds the optimizer; a setting that it does not take is one sentence."""
        with explaining_config_errors():
            return super().build_optim_wrapper(*args, **kwargs)

    def build_param_scheduler(self, *args, **kwargs) -> Any:
        """Builds the schedules; a setting that one does not take is one sentence."""
        with explaining_config_errors():
            return super().build_param_scheduler(*args, **kwargs)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wraps the model for several processes; on the CPU it has no device number.

        With FSDP it is left as it is until its weights are there. A training with ``lora`` in its
        config gets its adapters here, before the optimizer is built.
        """
        if self._train_loop is not None and self.cfg.get("lora"):
            add_adapters(model.backbone, self.cfg.lora["rank"])
        if self._divides_model:
            return model.to(get_device())
        if self.distributed and model_wrapper_cfg is None and not torch.cuda.is_available():
            return MMDistributedDataParallel(
                model,
                broadcast_buffers=False,
                find_unused_parameters=self.cfg.get("find_unused_parameters", False),
            )
        return super().wrap_model(model_wrapper_cfg, model)

    @property
    def _divides_model(self) -> bool:
        return self.distributed and self.cfg.get("fsdp", False) and self._train_loop is not None

    def _init_model_weights(self) -> None:
        """Initialises the weights, and divides the model afterwards where it is to be divided."""
        super()._init_model_weights()
        reset_adapters(self.model)
        if self._divides_model:
            shard_for_training(self.model, self.optim_wrapper)
            self.logger.info(f"FSDP: {describe_shards(self.model)}")

    def load_or_resume(self) -> None:
        """Loads what the run starts from; from here on each process draws numbers of its own.

        The model is there by now, equal in all processes, and so is the seed of a resumed run. Its
        random state is restored later (``RandomStateHook``).
        """
        super().load_or_resume()
        if self._resume:
            self.dump_config()
        log_choice(self.model, self.cfg, self.logger)
        seed_each_process(self.seed, self.rank)

    def load_checkpoint(self, filename: str, map_location="cpu", strict: bool = False) -> dict:
        """Loads a checkpoint after comparing it with the model, name by name.

        Raises:
            UserError: When a test or a resumed run gets a checkpoint of another model, a resumed
                run one of other classes, or a new run one of another backbone.
        """
        checkpoint = read_checkpoint(filename, map_location=map_location)
        if self.cfg.get("averaged_weights") and self._train_loop is None:
            checkpoint = take_average(checkpoint, filename)
        if self._resume:
            check_resumable(checkpoint, filename)
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        model = self.model.module if is_model_wrapper(self.model) else self.model
        state, differences = compare(model, checkpoint)
        if differences and (strict or self._train_loop is None or self._resume):
            raise not_of_this_model(filename, differences)
        if self._resume:
            check_classes(checkpoint, self.train_dataloader.dataset, filename)
            self._adapt(checkpoint, filename)
        if differences:
            check_backbone(model, checkpoint, filename)
            self.logger.warning(f"{filename} fills the model in part: {differences}")
        load_gathered(model, state, strict=False)
        if is_sharded(model) and self._resume:
            divide_optimizer_state(self.optim_wrapper.optimizer, checkpoint["optimizer"])
        self._has_loaded = True
        self.logger.info(f"Loaded {filename}")
        return checkpoint

    def _adapt(self, checkpoint: dict, filename: str) -> None:
        """Gives a checkpoint that is resumed the settings of this run, and prints both."""
        known = "optim_wrapper" in self.cfg and "optimizer" in checkpoint
        if not known or not isinstance(self.optim_wrapper, OptimWrapper):
            return  # a runner that was put together without a config
        plan = plan_of(self.cfg.train_cfg, len(self.train_dataloader))
        found = adapt(checkpoint, self.cfg, self.optim_wrapper, plan, filename)
        if self.param_schedulers is not None:
            self.param_schedulers = found.schedulers
        accumulated = self.optim_wrapper._accumulative_counts
        lines = resumed_lines(found, self.cfg, accumulated)
        text = "\n".join([f"Resumed from {filename}", *(f"  {line}" for line in lines)])
        self.logger.info(LogText(text, text))

    def save_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        """Writes a checkpoint under a temporary name and renames it: a kill leaves no torso.

        Raises:
            UserError: When the disk is full; earlier checkpoints stay as they are.
        """
        for hook in self.hooks:
            if isinstance(hook, GatheringHook):
                hook.gather(self)  # here all processes come by; only the first one writes
        if self.rank != 0:
            return
        path = Path(out_dir) / filename
        kwargs["meta"] = {**(kwargs.get("meta") or {}), EPOCH_LENGTH: len(self.train_dataloader)}
        remedy = "The earlier checkpoints are whole: make room and start again with --resume."
        with explaining_full_disks(f"The checkpoint {path}", remedy), replacing(path) as temporary:
            super().save_checkpoint(out_dir, temporary.name, *args, **kwargs)

    def scale_lr(self, optim_wrapper, auto_scale_lr: dict | None = None) -> None:
        """Compares the step's images with the recipe's; scales the rates if asked to.

        A step is images per process x processes x accumulated batches; mmengine leaves the
        last factor out.
        """
        if not auto_scale_lr:
            return
        loader = self._train_dataloader
        per_process = loader["batch_size"] if isinstance(loader, dict) else loader.batch_size
        accumulated = optim_wrapper._accumulative_counts
        step, base = per_process * self.world_size * accumulated, auto_scale_lr["base_batch_size"]
        account = f"{per_process} images x {self.world_size} processes x {accumulated} batches"
        self.logger.info(f"A step has {account} = {step} images; the recipe's has {base}.")
        lr = optim_wrapper.optimizer.defaults["lr"]
        rates = f"from {lr:g} to {lr * step / base:g}"
        if not auto_scale_lr.get("enable"):
            if step != base:
                self.logger.warning(
                    f"The learning rate is the recipe's for {base} images a step; this run has "
                    f"{step} ({account}): --auto-scale-lr multiplies it by {step / base:g}, "
                    f"{rates}."
                )
            return
        self.logger.info(f"--auto-scale-lr: learning rates x {step / base:g}, {rates}.")
        scale_rates(optim_wrapper, step / base)


def scale_rates(optim_wrapper: OptimWrapper, factor: float) -> None:
    """Multiplies the learning rates of all groups, before any schedule is built."""
    for group in optim_wrapper.optimizer.param_groups:
        group["lr"] *= factor
    if optim_wrapper.base_param_settings is not None:  # what the log shows as base_lr
        optim_wrapper.base_param_settings["lr"] *= factor


def build_runner(cfg: Config) -> DenseRunner:
    """Builds the runner of a resolved config (see :func:`convnext_dense.engine.load_config`).

    Raises:
        UserError: When a class does not know what the config gives it.
    """
    with explaining_config_errors():
        return DenseRunner.from_cfg(cfg)


@contextmanager
def explaining_config_errors() -> Iterator[None]:
    """Turns the complaint of a class about its settings into one sentence.

    Raises:
        UserError: With its words: mmengine names the class and what it was given.
    """
    try:
        yield
    except UserError:
        raise
    except (TypeError, KeyError, ValueError, AssertionError) as error:
        raise UserError(f"The config cannot be built: {error} (--debug shows where)") from error


def _raise_if_full(otherwise):
    def handle(record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError) and error.errno in FULL:
            raise error
        otherwise(record)

    return handle
