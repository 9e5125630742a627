"""Where a config states how its model reads images, and the same of a checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from convnext_dense.config.config_tree import SPLITS, walk
from convnext_dense.config.plain import read_plain
from convnext_dense.data.bands.reading import RGB, Reading

LOADER = "LoadImage"
STATED = ("channels", "value_range")  # its arguments
NORMALISATION = ("type", "mean", "std", "bgr_to_rgb")  # of a preprocessor
STEM = "downsample_layers.0.0.weight"


def loaders(cfg: Mapping[str, Any]) -> list[Any]:
    """The reading steps of all pipelines."""
    return [
        node
        for split in SPLITS
        for node in walk(cfg.get(f"{split}_dataloader") or {})
        if str(node.get("type", "")).split(".")[-1] == LOADER
    ]


def reading_of(cfg: Mapping[str, Any]) -> Reading:
    """How a config's model reads images, by the last of its reading steps: that of a test."""
    step = next(iter(loaders(cfg)[::-1]), {})
    value_range = step.get("value_range")
    return Reading(step.get("channels", RGB), tuple(value_range) if value_range else None)


def is_stated(cfg: Mapping[str, Any]) -> bool:
    """Whether a config was fitted to such images before, or states it by hand."""
    return any(key in step for step in loaders(cfg) for key in STATED)


@dataclass(frozen=True)
class Start:
    """What the checkpoint that a run starts from says of its images.

    Attributes:
        channels: Those of its stem; None where it has none of ours.
        config: The config that it was trained with, as data; empty where it brings none.
    """

    channels: int | None
    config: Mapping[str, Any]


def start_of(content: Mapping[str, Any]) -> Start:
    """The start of a checkpoint's content."""
    state = content.get("state_dict") or content.get("model") or content
    stem = next((v for name, v in state.items() if str(name).endswith(STEM)), None)
    text = (content.get("meta") or {}).get("cfg")
    try:
        config = read_plain(text) if isinstance(text, str) else {}
    except (SyntaxError, ValueError):  # another project's
        config = {}
    return Start(None if stem is None else stem.shape[1], config)


def take_over(cfg: Any, config: Mapping[str, Any]) -> bool:
    """Gives a config the channels, range and normalisation of a checkpoint's own config.

    Returns:
        Whether the checkpoint's model is one for other images than 8-bit colours.
    """
    reading = reading_of(config)
    if reading.is_plain:
        return False
    apply(cfg, reading)
    theirs = (config.get("model") or {}).get("data_preprocessor") or {}
    cfg.model.data_preprocessor.update({k: theirs[k] for k in NORMALISATION if k in theirs})
    return True


def apply(cfg: Any, reading: Reading) -> None:
    """States channels and range where a config has them: backbone and reading steps."""
    if reading.channels != RGB:
        cfg.model.backbone.in_channels = reading.channels
    for step in loaders(cfg):
        if reading.channels != RGB:
            step.channels = reading.channels
        if reading.value_range is not None:
            step.value_range = list(reading.value_range)
