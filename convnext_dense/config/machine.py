"""The entries of a config that depend on the machine: precision, batch norm, the optimizer."""

import torch
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.logging import print_log

from convnext_dense.config.config_tree import walk
from convnext_dense.config.launcher import world_size

AMP_DTYPES = {"bf16": "bfloat16", "fp16": "float16"}
FUSED = ("Adam", "AdamW", "SGD")  # optimizers that torch has fused on CPUs and NVIDIA GPUs


def set_precision(cfg: Config, amp: str | None) -> None:
    """Applies ``--amp``, and float32 where the machine lacks the config's precision."""
    wrapper = cfg.get("optim_wrapper")
    if wrapper is None:
        return
    if amp == "off":
        _use_float32(wrapper)
    elif amp in AMP_DTYPES:
        wrapper.type = "AmpOptimWrapper"
        wrapper.dtype = AMP_DTYPES[amp]
        # bfloat16 has the exponent range of float32 and needs no loss scaling.
        wrapper.loss_scale = dict(enabled=False) if amp == "bf16" else "dynamic"
    if wrapper.type != "AmpOptimWrapper":
        return
    if not torch.cuda.is_available():
        if amp is not None:
            print_log(f"No CUDA device: --amp {amp} has no effect, training in float32.")
        _use_float32(wrapper)
    elif wrapper.dtype == "bfloat16" and not torch.cuda.is_bf16_supported(
        including_emulation=False
    ):
        print_log("This GPU has no bfloat16: training in float32 (--amp fp16 is available).")
        _use_float32(wrapper)


def _use_float32(wrapper: ConfigDict) -> None:
    wrapper.type = "OptimWrapper"
    for key in ("dtype", "loss_scale"):
        wrapper.pop(key, None)


def set_batch_norm(cfg: Config, launcher: str) -> None:
    """Replaces SyncBN by BN, with the same parameters, outside of several CUDA processes."""
    if world_size(launcher) > 1 and torch.cuda.is_available():
        return
    for node in walk(cfg.model):
        if node.get("type") == "SyncBN":
            node.type = "BN"


def use_fused_optimizer(cfg: Config) -> None:
    """Has torch update all parameters in one pass, where the config says nothing about it.

    On a CPU this takes a quarter of the time for ConvNeXt-T (docs/results.md);
    ``optimizer.fused=False`` is torch's default.
    """
    optimizer = cfg.optim_wrapper.optimizer
    chosen = {"fused", "foreach", "capturable", "differentiable"} & set(optimizer)
    if optimizer.type in FUSED and get_device() in ("cpu", "cuda") and not chosen:
        optimizer.fused = True
