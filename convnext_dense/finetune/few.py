"""``--few``: flags for less than 200 training images, in one."""

from dataclasses import replace
from typing import Any, TypeVar

from convnext_dense.data.fit_schedule import count_training_images
from convnext_dense.errors import UserError
from convnext_dense.finetune.best_checkpoint import AUTO
from convnext_dense.tasks import task_of

Flags = TypeVar("Flags")

MOST_IMAGES = 200
# Task -> field of the flags -> value, by docs/results.md#presets-on-few-images. No flag made a
# detector better than its recipe there: with few images its best checkpoint is kept, no more.
PRESETS = {
    "detection": dict(save_best=AUTO),
    "segmentation": dict(augment="none", head_lr_mult=5.0),
}


def expand_few(cfg: Any, flags: Flags) -> Flags:
    """Puts the preset of ``--few`` in the place of flags that were not given.

    Args:
        cfg: A config that was fitted to its data.
        flags: A dataclass with ``few`` and the preset's fields.

    Raises:
        UserError: For a task without a preset, or too many images.
    """
    if not flags.few:
        return flags
    name = task_of(cfg).name
    if name not in PRESETS:
        raise UserError(f"--few is for {' and '.join(PRESETS)}, and this config trains {name}.")
    preset, images = PRESETS[name], count_training_images(cfg)
    if images >= MOST_IMAGES:
        raise UserError(
            f"--few is for less than {MOST_IMAGES} training images, and this data has "
            f"{images:,}: leave it out, or give what it stands for: {as_flags(preset)}."
        )
    return replace(flags, **left_open(preset, flags))


def left_open(preset: dict[str, Any], flags: Any) -> dict[str, Any]:
    """The part of a preset that the flags do not state themselves."""
    return {name: value for name, value in preset.items() if getattr(flags, name) in (None, False)}


def describe_few(cfg: Any, flags: Any) -> str:
    """What the preset stands for, and what was given instead of it.

    Args:
        cfg: The config.
        flags: As they were given.
    """
    preset = PRESETS[task_of(cfg).name]
    used = left_open(preset, flags)
    given = {name: getattr(flags, name) for name in preset if name not in used}
    text = f"--few: {as_flags(used) or 'nothing that was not given'}"
    return f"{text} (given: {as_flags(given)})" if given else text


def as_flags(values: dict[str, Any]) -> str:
    """Fields and values as a command line has them."""
    words = []
    for name, value in values.items():
        flag = f"--{name.replace('_', '-')}"
        words.append(flag if value is True else f"{flag} {value}")
    return ", ".join(words)
