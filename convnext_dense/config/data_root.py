"""The folder that holds all data: flag, environment variable, config, default, in this order."""

import os
from pathlib import Path

from mmengine.config import Config

from convnext_dense.config.config_tree import SPLITS, datasets

DATA_ROOT_VARIABLE = "CONVNEXT_DENSE_DATA"
DEFAULT_DATA_ROOT = "data"


def set_data_root(cfg: Config, data_root: str | os.PathLike | None) -> None:
    """Puts the data root in front of every dataset's own folder, once.

    The root is kept as ``cfg.data_root``; loading a resolved config again moves its datasets to
    the new root instead of nesting them.
    """
    previous = cfg.get("data_root")
    root = str(data_root or os.environ.get(DATA_ROOT_VARIABLE) or previous or DEFAULT_DATA_ROOT)
    cfg.data_root = root
    for split in SPLITS:
        for dataset in datasets(cfg, split):
            folder = dataset.data_root
            if previous and Path(folder).is_relative_to(previous):
                folder = os.path.relpath(folder, previous)
            dataset.data_root = os.path.normpath(os.path.join(root, folder))


def explain_data_root(root: str, given: str | os.PathLike | None, path: str) -> str:
    """A sentence for data that is missing: which root was taken and why, and a usual mistake.

    Args:
        root: The data root that was taken.
        given: ``--data-root``, or None.
        path: The file or folder that was looked for.
    """
    if given:
        source = "from --data-root"
    elif os.environ.get(DATA_ROOT_VARIABLE):
        source = f"from {DATA_ROOT_VARIABLE}; no --data-root"
    else:
        source = f"the config's own or the default; no --data-root, no {DATA_ROOT_VARIABLE}"
    text = f"Tried: {os.path.abspath(path)} under the data root {root} ({source})."
    inside = Path(os.path.relpath(path, root)).parts
    if Path(root, *inside[1:]).exists() and Path(root).resolve().name == inside[0]:
        text += f" The data root is one folder too deep: give --data-root {Path(root).parent}."
    return text
