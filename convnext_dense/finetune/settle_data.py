"""What is trained on: the flags that change images and how often each is seen."""

from typing import TypeVar

from convnext_dense.config.settled_config import SettledConfig
from convnext_dense.finetune.augment import describe_augmentation, use_augmentation
from convnext_dense.finetune.balance import balance, format_shares
from convnext_dense.finetune.few import describe_few, expand_few

Flags = TypeVar("Flags")


def settle_data(settled: SettledConfig, flags: Flags) -> tuple[Flags, str]:
    """Applies ``--few``, ``--augment`` and ``--balance``.

    Args:
        settled: A config that was fitted to its data.
        flags: A dataclass with ``few``, ``augment`` and ``balance``, and the fields of the preset.

    Returns:
        The flags with those of the preset, which others than this module apply; and lines for the
        user on all that was changed.

    Raises:
        UserError: For a task or data that a flag is not made for.
    """
    given, flags = flags, expand_few(settled.cfg, flags)
    lines = [describe_few(settled.cfg, given)] if flags.few else []
    if flags.augment is not None:
        with settled.changing(f"--augment {flags.augment}") as cfg:
            use_augmentation(cfg, flags.augment)
        lines.append(describe_augmentation(settled.cfg, flags.augment))
    if flags.balance:
        with settled.changing("--balance") as cfg:
            shares = balance(cfg)
        lines.append(format_shares(shares))
    return flags, "\n".join(lines)
