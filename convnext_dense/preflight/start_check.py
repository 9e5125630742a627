"""Checks of a built model: do its weights fit, and is there room for its checkpoints."""

import shutil
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from convnext_dense.config.config_tree import datasets
from convnext_dense.data.class_names import check_classes
from convnext_dense.engine.runner import DenseRunner
from convnext_dense.engine.sharding import plain_model
from convnext_dense.errors import UserError
from convnext_dense.models.lora import adapter_state
from convnext_dense.weights import read_checkpoint
from convnext_dense.weights.checkpoints import check_backbone, compare, not_of_this_model
from convnext_dense.weights.zoo import Normalisation, find_file

AVERAGES = ("WeightAverageHook", "EMAHook")
GB = 1e9


def check_weights(runner: DenseRunner) -> str:
    """Compares the checkpoint that a run will start from with its model.

    Returns:
        What is taken from it, in a line.

    Raises:
        UserError: For a checkpoint of another model (``--resume``), of another backbone
            (``--load-from``, ``--backbone-weights``, the recipe's weights) or of other classes.
    """
    model, source = plain_model(runner), runner._load_from
    if source is None:
        backbone = getattr(model, "backbone", None)
        if hasattr(backbone, "check_weights"):
            backbone.check_weights()
        return _own_weights(runner.cfg.model.get("backbone") or {}, model)
    checkpoint = read_checkpoint(source)
    fitting, differences = compare(model, checkpoint)
    if differences and runner._resume:
        raise not_of_this_model(source, differences)
    if differences:
        check_backbone(model, checkpoint, source)
    for data in datasets(runner.cfg, "train") if runner._resume else ():
        if not isinstance((data.get("metainfo") or {}).get("classes"), str):
            check_classes(checkpoint, data, source)
    if not differences:
        return f"all of {source}"
    total = len(model.state_dict())
    return f"{len(fitting)} of the model's {total} tensors of {source}; {differences}"


def _own_weights(backbone: dict[str, Any], model: nn.Module) -> str:
    """The backbone's file; of one with a name also its licence, and images unlike its own."""
    start = backbone.get("init_cfg") or {}
    if "checkpoint" not in start:
        return "random"
    line, known = f"the backbone's of {start['checkpoint']}", find_file(str(start["checkpoint"]))
    if known is None:
        return line
    return f"{line} (licence: {known.licence})" + _other_normalisation(known.normalisation, model)


def _other_normalisation(trained: Normalisation, model: nn.Module) -> str:
    """A phrase where the model normalises RGB images otherwise than its weights saw them."""
    preprocessor = getattr(model, "data_preprocessor", None)
    mean, std = (getattr(preprocessor, name, torch.zeros(0)).flatten() for name in ("mean", "std"))
    expected = torch.tensor(trained.mean), torch.tensor(trained.std)
    if len(mean) != 3 or all(
        torch.allclose(own, wanted, atol=0.05)
        for own, wanted in zip((mean.cpu(), std.cpu()), expected, strict=True)
    ):
        return ""
    own, wanted = (f"mean {_row(mean)}, std {_row(std)}" for mean, std in ((mean, std), expected))
    return (
        f"; they were trained on images normalised as {trained.name}'s ({wanted}), this config has "
        f"{own}: model.data_preprocessor.mean and .std change it"
    )


def _row(numbers: torch.Tensor) -> str:
    return f"[{', '.join(f'{x:g}' for x in numbers.tolist())}]"


def checkpoint_bytes(cfg: Config, model: nn.Module) -> int:
    """The size of one checkpoint: weights, optimizer's state, averaged weights, adapters' parts."""
    weights, parts = (
        sum(t.numel() * t.element_size() for t in state.values())
        for state in (model.state_dict(), adapter_state(model))
    )
    averages = any(hook.get("type") in AVERAGES for hook in cfg.get("custom_hooks") or [])
    return weights * (1 + averages) + optimizer_bytes(cfg, model) + parts


def optimizer_bytes(cfg: Config, model: nn.Module) -> int:
    """The state of the optimizer: two numbers a parameter, with SGD one or none."""
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    optimizer = cfg.optim_wrapper.optimizer
    return trained * (bool(optimizer.get("momentum")) if optimizer.type == "SGD" else 2)


def kept_checkpoints(cfg: Config) -> int:
    """The most checkpoints that lie in the work folder at a time, the one being written included.

    0 where none are written.
    """
    hook = (cfg.get("default_hooks") or {}).get("checkpoint")
    if not hook or hook.get("interval", -1) < 1:
        return 0
    total = cfg.train_cfg.get("max_epochs" if hook.get("by_epoch", True) else "max_iters")
    written = max(1, (total or 1) // hook.interval)
    kept = hook.get("max_keep_ckpts", -1)
    best = hook.get("save_best")
    return (min(kept, written) if kept > 0 else written) + 1 + bool(best)


def check_space(cfg: Config, model: nn.Module, work_dir: Path) -> tuple[int, int, int]:
    """Compares the free space of the work folder's disk with the checkpoints to come.

    Returns:
        Bytes of one checkpoint, how many are kept at a time, bytes that are free.

    Raises:
        UserError: When they do not fit; those that lie there already count as free.
    """
    size, count = checkpoint_bytes(cfg, model), kept_checkpoints(cfg)
    folder = work_dir.resolve()
    present = sum(path.stat().st_size for path in folder.glob("*.pth")) if folder.is_dir() else 0
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if size * count > free + present:
        raise UserError(
            f"{work_dir} has {free / GB:.2f} GB free, but the {count} checkpoints that lie there "
            f"at a time have {size / GB:.2f} GB each, {size * count / GB:.2f} GB in all: make "
            "room, name another folder with --work-dir, or keep fewer with --cfg-options "
            "default_hooks.checkpoint.max_keep_ckpts=1."
        )
    return size, count, free
