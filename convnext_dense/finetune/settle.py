"""The flags of fine-tuning as entries of a config; each change is recorded under its flag."""

from collections.abc import Callable
from typing import Any, Protocol

from mmengine.config import Config

from convnext_dense.config.settled_config import SettledConfig
from convnext_dense.finetune.average import average_weights, describe_average
from convnext_dense.finetune.best_checkpoint import save_best
from convnext_dense.finetune.early_stop import HOOK, stop_early
from convnext_dense.finetune.freeze import describe_frozen, freeze
from convnext_dense.finetune.head_rate import multiply_head_rate
from convnext_dense.finetune.lora import describe_adapters, use_lora

# Flags and the changes that they make, in this order: each sees the former ones'.
Change = Callable[[Config, Any], None]
TRAINED_PARTS: dict[str, Change] = {
    "freeze": freeze,
    "lora": use_lora,
    "head_lr_mult": multiply_head_rate,
}
AVERAGE: dict[str, Change] = {"average_weights": average_weights}  # its figures are scores too
SCORES: dict[str, Change] = {"save_best": save_best, "early_stop": stop_early}


class FinetuneFlags(Protocol):
    """What is read of a training's flags; see ``convnext-dense train --help``."""

    freeze: str | None
    head_lr_mult: float | None
    lora: int | None
    average_weights: float | str | None
    early_stop: int | None
    save_best: str | None
    balance: bool
    augment: str | None
    few: bool


def settle_finetuning(settled: SettledConfig, flags: FinetuneFlags) -> None:
    """Puts the flags into a config whose classes and evaluators are settled; in place.

    Raises:
        UserError: For a value that does not fit the config.
    """
    for name, change in {**TRAINED_PARTS, **AVERAGE, **SCORES}.items():
        value = getattr(flags, name)
        if value is not None:
            with settled.changing(f"--{name.replace('_', '-')}") as cfg:
                change(cfg, value)


def describe_finetuning(cfg: Config) -> list[str]:
    """What a config fine-tunes and how it ends, a phrase each, for the table before a run."""
    factor = (cfg.optim_wrapper.get("paramwise_cfg") or {}).get("head_lr_mult", 1)
    best = cfg.default_hooks.get("checkpoint") or {}
    stops = [hook for hook in cfg.get("custom_hooks") or [] if hook.get("type") == HOOK]
    phrases = [
        describe_frozen(cfg.model.get("backbone") or {}),
        describe_adapters(cfg),
        f"learning rate of the heads x {factor:g}" if factor != 1 else "",
        describe_average(cfg),
        f"the best checkpoint by {best['save_best']} is kept" if best.get("save_best") else "",
        *(f"ends after {hook['patience']} evaluations without a better one" for hook in stops),
    ]
    return [phrase for phrase in phrases if phrase]
