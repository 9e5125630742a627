"""mmengine's Runner with whole checkpoints, a report for new Pythons, honest scaling."""

import os
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import master_only
from mmengine.model import MMDistributedDataParallel, is_model_wrapper
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from convnext_dense.engine.class_names import check_classes
from convnext_dense.engine.files import keep_previous, write_atomically
from convnext_dense.engine.gathering import GatheringHook
from convnext_dense.engine.sharding import (
    divide_optimizer_state,
    is_sharded,
    load_whole,
    shard_for_training,
    shares,
)
from convnext_dense.engine.workdir import environment
from convnext_dense.errors import UserError
from convnext_dense.pictures import name_pictures
from convnext_dense.weights import read_checkpoint
from convnext_dense.weights.checkpoints import check_backbone, compare, not_of_this_model


@RUNNERS.register_module()
class DenseRunner(Runner):
    """mmengine's Runner, mended where a run loses work or says less than it should."""

    def _log_env(self, env_cfg: dict[str, Any]) -> None:
        """Logs our own environment report: mmengine's needs distutils, gone in Python 3.12."""
        lines = {
            **environment(self.world_size),
            "seed": self.seed,
            "launcher": self._launcher,
            **env_cfg,
        }
        text = "\n".join(f"    {key}: {value}" for key, value in lines.items())
        self.logger.info(f"Environment:\n{text}\n")
        self.logger.info(f"Config:\n{self.cfg.pretty_text}")

    @master_only
    def dump_config(self) -> None:
        """Writes the resolved config; one that differs from an earlier one does not replace it."""
        name = Path(self.cfg.filename).name if self.cfg.filename else f"{self.timestamp}.py"
        path = Path(self.work_dir) / name
        text = self.cfg.pretty_text
        if path.exists() and path.read_text(encoding="utf-8") != text:
            kept = keep_previous(path)
            self.logger.info(f"The earlier config of this folder is kept as {kept}.")
        write_atomically(path, text)

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        """Connects processes without GPUs through gloo, where mmengine asks for a CUDA device."""
        if self.distributed and not torch.cuda.is_available():
            torch.distributed.init_process_group("gloo")
        super().setup_env(env_cfg)

    @staticmethod
    def build_dataloader(dataloader, *args, **kwargs) -> DataLoader:
        """Builds a loader whose errors name the picture."""
        loader = Runner.build_dataloader(dataloader, *args, **kwargs)
        name_pictures(loader.dataset)
        return loader

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wraps the model for several processes; on the CPU it has no device number.

        With FSDP it is left as it is until its weights are there.
        """
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
        if self._divides_model:
            shard_for_training(self.model, self.optim_wrapper)
            self.logger.info(f"FSDP: {shares(self.model)}")

    def load_checkpoint(self, filename: str, map_location="cpu", strict: bool = False) -> dict:
        """Loads a checkpoint after comparing it with the model, name by name.

        Raises:
            UserError: When a test or a resumed run gets a checkpoint of another model, a resumed
                run one of other classes, or a new run one of another backbone.
        """
        checkpoint = read_checkpoint(filename, map_location=map_location)
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        model = self.model.module if is_model_wrapper(self.model) else self.model
        state, differences = compare(model, checkpoint)
        if differences and (strict or self._train_loop is None or self._resume):
            raise not_of_this_model(filename, differences)
        if self._resume:
            check_classes(checkpoint, self.train_dataloader.dataset, filename)
        if differences:
            check_backbone(model, checkpoint, filename)
            self.logger.warning(f"{filename} fills the model in part: {differences}")
        load_whole(model, state, strict=False)
        if is_sharded(model) and self._resume:
            divide_optimizer_state(self.optim_wrapper.optimizer, checkpoint["optimizer"])
        self._has_loaded = True
        self.logger.info(f"Loaded {filename}")
        return checkpoint

    def save_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        """Writes a checkpoint under a temporary name and renames it: a kill leaves no torso."""
        for hook in self.hooks:
            if isinstance(hook, GatheringHook):
                hook.gather(self)  # here all processes come by; only the first one writes
        if self.rank != 0:
            return
        temporary = f".{filename}.{os.getpid()}"
        super().save_checkpoint(out_dir, temporary, *args, **kwargs)
        os.replace(Path(out_dir) / temporary, Path(out_dir) / filename)

    def scale_lr(self, optim_wrapper, auto_scale_lr: dict | None = None) -> None:
        """Compares the step's pictures with the recipe's; scales the rates if asked to.

        A step is pictures per process x processes x accumulated batches; mmengine leaves the
        last factor out.
        """
        if not auto_scale_lr:
            return
        loader = self._train_dataloader
        per_process = loader["batch_size"] if isinstance(loader, dict) else loader.batch_size
        accumulated = optim_wrapper._accumulative_counts
        step, base = per_process * self.world_size * accumulated, auto_scale_lr["base_batch_size"]
        account = f"{per_process} pictures x {self.world_size} processes x {accumulated} batches"
        self.logger.info(f"A step has {account} = {step} pictures; the recipe's has {base}.")
        lr = optim_wrapper.optimizer.defaults["lr"]
        rates = f"from {lr:g} to {lr * step / base:g}"
        if not auto_scale_lr.get("enable"):
            if step != base:
                self.logger.warning(
                    f"The learning rate is the recipe's for {base} pictures a step; this run has "
                    f"{step} ({account}): --auto-scale-lr multiplies it by {step / base:g}, "
                    f"{rates}."
                )
            return
        self.logger.info(f"--auto-scale-lr: learning rates x {step / base:g}, {rates}.")
        for group in optim_wrapper.optimizer.param_groups:
            group["lr"] *= step / base
        if optim_wrapper.base_param_settings is not None:  # what the log shows as base_lr
            optim_wrapper.base_param_settings["lr"] *= step / base


def build_runner(cfg: Config) -> DenseRunner:
    """Builds the runner of a resolved config (see :func:`convnext_dense.engine.load_config`).

    Raises:
        UserError: When a class does not know what the config gives it.
    """
    try:
        return DenseRunner.from_cfg(cfg)
    except UserError:
        raise
    except (TypeError, KeyError, ValueError, AssertionError) as error:
        # mmengine names the class and what it was given; most often a misspelt option.
        raise UserError(f"The config cannot be built: {error} (--debug shows where)") from error
