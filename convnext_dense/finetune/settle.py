"""The flags of fine-tuning as entries of a config; each change is recorded under its flag."""

from typing import Protocol

from convnext_dense.config.settled_config import SettledConfig


class FinetuneFlags(Protocol):
    """What is read of a training's flags; see ``convnext-dense train --help``."""

    freeze: str | None
    head_lr_mult: float | None
    lora: int | None
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
