"""Settings of a config whose values nothing else looks at before the first step."""

from collections.abc import Callable
from typing import Any

from mmengine.config import Config

from convnext_dense.errors import UserError
from convnext_dense.models.backbone import refuse_pretrained

Check = tuple[Callable[[Any], bool], str]


def _is_whole(value: Any) -> bool:
    return type(value) is int


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _without_gaps(test_cfg: Any) -> bool:
    """Whether a segmentor's sliding windows, where it has them, see every pixel."""
    if not isinstance(test_cfg, dict) or test_cfg.get("mode") != "slide":
        return True
    sides = [test_cfg.get(name) for name in ("stride", "crop_size")]
    return all(isinstance(side, list | tuple) and len(side) == 2 for side in sides) and all(
        _is_whole(stride) and _is_whole(crop) and 0 < stride <= crop
        for stride, crop in zip(*sides, strict=True)
    )


COUNT: Check = (lambda value: _is_whole(value) and value >= 1, "a whole number from 1 on")
NONE_OR_MORE: Check = (lambda value: _is_whole(value) and value >= 0, "a whole number from 0 on")
RATE: Check = (lambda value: _is_number(value) and not value < 0, "a number from 0 on")
VALUES: dict[str, Check] = {
    **{f"{split}_dataloader.batch_size": COUNT for split in ("train", "val", "test")},
    **{f"{split}_dataloader.num_workers": NONE_OR_MORE for split in ("train", "val", "test")},
    **{f"train_cfg.{name}": COUNT for name in ("max_epochs", "max_iters", "val_interval")},
    **{f"optim_wrapper.optimizer.{name}": RATE for name in ("lr", "weight_decay")},
    "optim_wrapper.accumulative_counts": COUNT,
    "model.test_cfg.windows_at_once": COUNT,
    "model.test_cfg": (
        _without_gaps,
        "windows without gaps: stride and crop_size as (height, width), no stride above its crop",
    ),
}


def check_values(cfg: Config) -> None:
    """Checks numbers of loaders, loops, optimizer and windows, and whose weights are named.

    Raises:
        UserError: Names the setting and what it must be.
    """
    model = cfg.get("model") or {}
    if model.get("pretrained") and (model.get("backbone") or {}).get("type") == "ConvNeXt":
        refuse_pretrained(model.pretrained)
    for path, (fits, needed) in VALUES.items():
        node: Any = cfg._cfg_dict
        for name in path.split("."):
            node = node.get(name) if isinstance(node, dict) else None
        if node is not None and not fits(node):
            raise UserError(f"{path} must be {needed}, got {node!r}.")
