"""Weights of classes in a loss: one for each class, or torch ends in the first step."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convnext_dense.config.config_tree import walk
from convnext_dense.data.text_files import read_json
from convnext_dense.errors import UserError

BINARY = ("use_sigmoid", "use_mask")  # losses of each class by itself
SHOWN = 5  # classes in a sentence


def check_class_weights(head: Any, key: str, classes: Sequence[str], background: bool) -> None:
    """Compares the ``class_weight`` of each loss of a head with its classes.

    Args:
        head: The head's config; a ``class_weight`` is a list, or the name of a .json or .npy file.
        key: Its name in the config.
        classes: The class names.
        background: Whether the head tells a background apart too, as its last class.

    Raises:
        UserError: When their numbers differ, or a file cannot be read.
    """
    needed = len(classes) + background
    for loss in walk(head):
        weights = loss.get("class_weight")
        if isinstance(weights, str):
            weights = _read(weights, key)
        # DETR's heads take one number, of all classes.
        if weights is None or isinstance(weights, int | float) or len(weights) == needed:
            continue
        if background and any(loss.get(name) for name in BINARY):
            continue
        shown = ", ".join(classes[:SHOWN]) + (" ..." if len(classes) > SHOWN else "")
        last = ", and one of the background at the end" if background else ""
        raise UserError(
            f"{key} has a class_weight of {len(weights)} numbers for {len(classes)} classes: give "
            f"{needed}, one of each class in the order {shown}{last}."
        )


def _read(path: str, key: str) -> Sequence[float] | None:
    """The weights of a file; None for a format that only the loss knows."""
    if not Path(path).is_file():
        raise UserError(f"{key} names the class_weight {path}, which is no file.")
    if path.endswith(".json"):
        return read_json(path)
    return np.load(path, allow_pickle=False) if path.endswith(".npy") else None
