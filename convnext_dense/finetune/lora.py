"""``--lora``: adapters are trained in the place of the backbone's weights."""

from mmengine.config import Config
from mmengine.registry import MODELS

from convnext_dense.errors import UserError
from convnext_dense.finetune.freeze import require_stages
from convnext_dense.models.lora import require_peft
from convnext_dense.models.staged_network import BACKBONE
from convnext_dense.models.trunk import Trunk

HOOK = "AdapterStateHook"


def use_lora(cfg: Config, rank: int) -> None:
    """Has a training put adapters into the backbone; tests see plain weights. In place.

    Raises:
        UserError: For a rank below 1, another backbone, a frozen one, ``--fsdp``, or without peft.
    """
    if rank < 1:
        raise UserError(f"--lora must be at least 1, got {rank}: the rank of the adapters.")
    require_stages(cfg, "--lora")
    kind = cfg.model.backbone.type
    if not issubclass(MODELS.get(kind) if isinstance(kind, str) else kind, Trunk):
        raise UserError(f"--lora is for ConvNeXt's blocks, which {kind} has not: leave it out.")
    if cfg.model.backbone.get("frozen_stages", -1) in (4, BACKBONE):
        raise UserError(
            "--lora has no block to adapt where all stages are frozen: leave out --freeze (the "
            "weights below the adapters are frozen anyway), or --lora."
        )
    if cfg.get("fsdp"):
        raise UserError(
            "--lora and --fsdp exclude each other: frozen weights have neither gradients nor an "
            "optimizer's state to divide; leave out --fsdp."
        )
    if any(hook.get("type") == "EMAHook" for hook in cfg.get("custom_hooks") or []):
        raise UserError(
            "--lora needs an average of the merged weights, and custom_hooks names mmengine's "
            "EMAHook: name WeightAverageHook in its place, or leave it out."
        )
    require_peft()
    cfg.lora = dict(rank=rank)
    if not any(hook.get("type") == HOOK for hook in cfg.get("custom_hooks") or []):
        cfg.custom_hooks = [*(cfg.get("custom_hooks") or []), dict(type=HOOK)]


def describe_adapters(cfg: Config) -> str:
    """The adapters of a config as a phrase; empty without any."""
    if not cfg.get("lora"):
        return ""
    return f"adapters of rank {cfg.lora.rank} in the blocks, the other weights of which are frozen"
