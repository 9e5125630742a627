"""``--average-weights``: the moving average (EMA) of the weights, kept and evaluated too."""

from mmengine.config import Config

from convnext_dense.engine.weight_averaging import check_decay
from convnext_dense.errors import UserError

HOOK = "WeightAverageHook"
AUTO = "auto"  # the decay follows the run's length
# Loops of an evaluation, and those that evaluate both weights.
LOOPS = {"ValLoop": "BothWeightsValLoop", "TestLoop": "BothWeightsTestLoop"}


def average_weights(cfg: Config, decay: float | str) -> None:
    """Has a training keep the average, and evaluations measure both; in place.

    Args:
        cfg: Any training's config. An average that it keeps already gets the decay.
        decay: Share of the average that a step keeps, or ``auto``.

    Raises:
        UserError: For a decay outside (0, 1), or beside mmengine's EMAHook.
    """
    hooks = list(cfg.get("custom_hooks") or [])
    if any(hook.get("type") == "EMAHook" for hook in hooks):
        raise UserError(
            "--average-weights keeps an average, and custom_hooks names mmengine's EMAHook, which "
            "keeps another: remove it from the config, or leave the flag out."
        )
    number = None if decay == AUTO else check_decay(decay)
    others = [hook for hook in hooks if hook.get("type") != HOOK]
    cfg.custom_hooks = [*others, dict(type=HOOK, decay=number)]
    for name in ("val_cfg", "test_cfg"):
        loop = cfg.get(name)
        if loop and loop.get("type") in LOOPS:
            loop.type = LOOPS[loop.type]


def use_average_alone(cfg: Config) -> None:
    """Has a test take the averaged weights of its checkpoint in the place of the plain ones."""
    cfg.averaged_weights = True
    hooks = cfg.get("custom_hooks") or []
    cfg.custom_hooks = [hook for hook in hooks if hook.get("type") != HOOK]
    plain = {both: one for one, both in LOOPS.items()}
    cfg.test_cfg.type = plain.get(cfg.test_cfg.type, cfg.test_cfg.type)


def describe_average(cfg: Config) -> str:
    """The average as a phrase; empty where none is kept."""
    hook = next((one for one in cfg.get("custom_hooks") or [] if one.get("type") == HOOK), None)
    if hook is None:
        return ""
    decay = hook.get("decay")
    how = "by the length of the run" if decay is None else f"{decay:g}"
    return f"the average of the weights is kept and evaluated too (decay {how})"
