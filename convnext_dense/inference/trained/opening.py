"""What a user names a model by, resolved to a checkpoint and the config it belongs to."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from convnext_dense.config.load import load_config
from convnext_dense.config.names import PLAIN, find_config
from convnext_dense.config.plain import (
    SUFFIXES,
    building_registered_classes_alone,
    check_imports,
    read_plain,
)
from convnext_dense.config.shipped import CONFIGS
from convnext_dense.errors import UserError
from convnext_dense.runs.work_folder import resolve_checkpoint
from convnext_dense.tasks import ENTRIES
from convnext_dense.weights import read_checkpoint
from convnext_dense.weights.checkpoints import count_classes
from convnext_dense.weights.reading import is_elsewhere
from convnext_dense.weights.zoo import OFFICIAL_FILES, ZOO

HUB = "hf:"
# Of stored configs that are read whole: a toolbox's scope, or the name of a pretraining's task. A
# classifier is built from a part of its config.
READ_WHOLE = tuple(
    entry.scope if entry.toolbox else entry.name
    for entry in ENTRIES
    if entry.toolbox or not entry.headline
)
CONFIG_SUFFIXES = (".py", *SUFFIXES)
WEIGHT_SUFFIXES = (".pth", ".pt", ".safetensors", ".bin", ".ckpt")


@dataclass(frozen=True)
class Opened:
    """A checkpoint and its config.

    Attributes:
        content: The checkpoint's content.
        source: The checkpoint as messages name it.
        config: The checked config; None for a classifier that brought none.
        config_source: The config as messages name it.
        stored: The config came with the checkpoint: it is data, and may name registered classes
            alone.
    """

    content: Mapping[str, Any]
    source: str
    config: Config | None
    config_source: str
    stored: bool = False


def open_named(source: str | os.PathLike, config: str | os.PathLike | None = None) -> Opened:
    """Finds and reads the checkpoint and the config of a model.

    Args:
        source: A work folder, a checkpoint file or address, an official name, a config by path or
            name whose weights the release has, or ``hf:owner/name``.
        config: The config, by path or name, in the place of the one that belongs to the source.

    Raises:
        UserError: When there is no such thing, or no config belongs to it.
    """
    if not isinstance(source, str | os.PathLike) or not os.fspath(source):
        raise UserError(
            f"{source!r} names no model: give a work folder, a checkpoint, a config's name or "
            "hf:owner/name."
        )
    text = os.fspath(source)
    if text.startswith(HUB):
        from convnext_dense.hub import fetch  # needs huggingface_hub

        text = str(fetch(text))
    if Path(text).is_dir():
        return _open_folder(Path(text), config)
    if _is_config(text):
        if config is not None:
            raise UserError(f"{text} is a config, and config={config} names another one.")
        if os.sep in text and Path(text).suffix not in CONFIG_SUFFIXES:
            raise UserError(f"There is no work folder or checkpoint {text}.")
        path = _config_path(text)
        return _with_config(_official_of(path), path)
    return _with_config(text, config)


def _open_folder(folder: Path, config: str | os.PathLike | None) -> Opened:
    """A work folder, or a folder as the Hub has it: safetensors and a plain config."""
    weights = sorted(folder.glob("*.safetensors"))
    if not any(folder.glob("*.pth")) and len(weights) == 1:
        return _with_config(str(weights[0]), config)
    checkpoint = resolve_checkpoint(str(folder))
    if checkpoint == str(folder):
        raise UserError(f"{folder} holds no checkpoint: give the work folder of a training.")
    return _with_config(checkpoint, config)


def _with_config(checkpoint: str, config: str | os.PathLike | None) -> Opened:
    """A checkpoint with the given config, or else the one it stores, the plain one beside it, or
    that of the official file it is.
    """
    content = read_checkpoint(resolve_checkpoint(checkpoint))
    if config is not None:
        path = _config_path(os.fspath(config))
        return Opened(content, checkpoint, load_config(path), path)
    text = (content.get("meta") or {}).get("cfg")
    if isinstance(text, str) and any(f'"{s}"' in text or f"'{s}'" in text for s in READ_WHOLE):
        name = f"the config in {checkpoint}"
        with building_registered_classes_alone():
            return Opened(content, checkpoint, load_config(_stored_config(text, name)), name, True)
    if (beside := Path(checkpoint).with_name(PLAIN)).is_file():
        with building_registered_classes_alone():
            return Opened(content, checkpoint, load_config(beside), str(beside), True)
    if official := _official_config(checkpoint):
        path = _config_path(official)
        return Opened(content, checkpoint, load_config(path), path)
    if count_classes(content) is not None:  # a detector or a segmentor
        raise UserError(f"{checkpoint} brings no config: name the one it was trained with.")
    return Opened(content, checkpoint, None, "")


def _stored_config(text: str, name: str) -> Config:
    """A run's config from its checkpoint, read as data: nothing in it is executed.

    Raises:
        UserError: When it is no plain data, or wants unknown modules imported.
    """
    try:
        content = read_plain(text)
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{name} cannot be read as data ({error}): give its file.") from error
    check_imports(content, name)
    return Config(content)


def is_model(text: str) -> bool:
    """Whether a text names a model by its form: a folder with weights, a checkpoint, a config."""
    path = Path(text)
    if path.is_dir():
        return any(any(path.glob(f"*{suffix}")) for suffix in WEIGHT_SUFFIXES)
    named = text in ZOO or text.startswith(HUB)
    return named or path.suffix in (*WEIGHT_SUFFIXES, *CONFIG_SUFFIXES)


def _is_config(text: str) -> bool:
    path = Path(text)
    if is_elsewhere(text) or path.suffix in WEIGHT_SUFFIXES:
        return False
    return path.suffix in CONFIG_SUFFIXES or not path.exists()


def _config_path(text: str) -> str:
    return str(find_config(text))


def _official_of(config: str) -> str:
    name = OFFICIAL_FILES.get(Path(config).stem)
    if name is None or not Path(config).is_relative_to(CONFIGS):
        raise UserError(
            f"The release has no weights of {Path(config).stem}: give a work folder or a "
            "checkpoint, and the config beside it where the checkpoint brings none."
        )
    return name


def _official_config(checkpoint: str) -> str | None:
    """The config of an official file, given by its name, address or path; None for other files."""
    name = checkpoint if checkpoint in ZOO else Path(checkpoint).stem
    return next(
        (config for config, file in OFFICIAL_FILES.items() if name in (file, Path(file).name)), None
    )
