"""``--freeze``: the parts of a backbone that stay as the run finds them."""

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from mmengine.registry import MODELS

from convnext_dense.errors import UserError
from convnext_dense.models import StagedNetwork
from convnext_dense.models.staged_network import BACKBONE

# The flag's values -> ``model.backbone.frozen_stages``.
FROZEN_STAGES: dict[str, int | str] = {
    "none": -1, "stem": 0, "1": 1, "2": 2, "3": 3, "4": 4, "backbone": BACKBONE,
}  # fmt: skip


def freeze(cfg: Config, part: str) -> None:
    """Sets ``frozen_stages``; in place.

    Args:
        cfg: A config with a ConvNeXt of stages as its ``model.backbone``.
        part: A key of ``FROZEN_STAGES``.

    Raises:
        UserError: For another backbone.
    """
    require_stages(cfg, "--freeze")
    cfg.model.backbone.frozen_stages = FROZEN_STAGES[part]


def require_stages(cfg: Config, flag: str) -> None:
    """Refuses a backbone without ConvNeXt's stages.

    Raises:
        UserError: Names the flag and the backbone.
    """
    backbone = cfg.model.get("backbone") or {}
    kind = backbone.get("type")
    found = MODELS.get(kind) if isinstance(kind, str) else kind
    if not (isinstance(found, type) and issubclass(found, StagedNetwork)):
        raise UserError(
            f"{flag} is for a ConvNeXt with stages, and model.backbone is a {kind}: leave {flag} "
            "out, or choose another config (convnext-dense configs)."
        )


def describe_frozen(backbone: Mapping[str, Any]) -> str:
    """What a config's backbone does not train, as a phrase; empty where it trains all."""
    frozen = backbone.get("frozen_stages", -1)
    if frozen == -1:
        return ""
    if frozen == BACKBONE:
        return "the backbone is frozen, its norms too"
    stages = {0: "", 1: " and stage 1"}.get(frozen, f" and stages 1 to {frozen}")
    return f"stem{stages} {'are' if stages else 'is'} frozen"
