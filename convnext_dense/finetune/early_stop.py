"""``--early-stop``: a training ends when its score gets no better."""

from mmengine.config import Config

from convnext_dense.errors import UserError
from convnext_dense.finetune.best_checkpoint import AUTO, save_best

HOOK = "EarlyStopHook"


def stop_early(cfg: Config, patience: int) -> None:
    """Adds the hook, which follows the score whose best checkpoint is kept; in place.

    The best checkpoint is kept where the config keeps none: the last one is worse by then.

    Raises:
        UserError: For a patience below 1, or a config without evaluation.
    """
    if patience < 1:
        raise UserError(
            f"--early-stop must be at least 1, got {patience}: so many evaluations without a "
            "better score end the training."
        )
    save_best(cfg, AUTO)
    checkpoint = cfg.default_hooks.checkpoint
    hook = dict(type=HOOK, monitor=checkpoint.save_best, rule=checkpoint.rule, patience=patience)
    others = [one for one in cfg.get("custom_hooks") or [] if one.get("type") != HOOK]
    cfg.custom_hooks = [*others, hook]
