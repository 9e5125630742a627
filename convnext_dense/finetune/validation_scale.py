"""The size of the images at which a config evaluates."""

from typing import Any

from convnext_dense.config.config_tree import walk
from convnext_dense.errors import UserError


def validation_scale(cfg: Any) -> tuple[int, int]:
    """The two sides that the validation's resize aims at, in its own order.

    Raises:
        UserError: For a validation without a resize to a size.
    """
    for node in walk(cfg.get("val_dataloader") or {}):
        scale = node.get("scale")
        if str(node.get("type")).endswith("Resize") and isinstance(scale, tuple | list):
            return tuple(scale)
    raise UserError(
        "--augment takes the size of the images from the Resize of val_dataloader's pipeline, "
        "which has no scale here: give it one, or leave --augment out."
    )
