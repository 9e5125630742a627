"""``--save-best``: the figure whose best checkpoint is kept, known before the first step."""

import difflib

from mmengine.config import Config
from mmengine.registry import METRICS, DefaultScope

from convnext_dense.config.config_tree import evaluators
from convnext_dense.errors import UserError
from convnext_dense.tasks import OF_AVERAGE

AUTO = "auto"
LOSS = "loss"  # the only figure that is better when it is lower
NEAREST = 3


def save_best(cfg: Config, metric: str) -> None:
    """Has the checkpoint hook keep the best checkpoint; in place.

    Args:
        cfg: A config whose classes and evaluators are settled.
        metric: A figure, with or without its prefix; ``auto`` is the config's own, else the first
            one of the first evaluator.

    Raises:
        UserError: For a figure that the evaluation does not have, or a config without evaluation.
    """
    checkpoint = cfg.default_hooks.checkpoint
    if metric == AUTO and checkpoint.get("save_best"):
        return
    name = find_figure(cfg, metric)
    checkpoint.save_best = name
    checkpoint.rule = rule_of(name)


def rule_of(figure: str) -> str:
    """``greater`` or ``less``: which values of a figure are better."""
    return "less" if figure.rpartition("/")[2].removesuffix(OF_AVERAGE) == LOSS else "greater"


def find_figure(cfg: Config, metric: str) -> str:
    """The full name of a figure of the validation.

    Raises:
        UserError: As :func:`save_best`; names the nearest ones.
    """
    if not cfg.get("val_dataloader"):
        raise UserError(
            "--save-best and --early-stop follow a score of the validation, and this run has no "
            "validation data: give some, or leave the flags out."
        )
    known = known_figures(cfg)
    if not known and metric != AUTO:
        return metric  # another library's metric: the checkpoint hook checks it
    if not known:
        kinds = ", ".join(str(one.get("type")) for one in evaluators(cfg, "val"))
        raise UserError(
            f"The figures of {kinds or 'this config'} are not known before the run: name one with "
            "--save-best METRIC."
        )
    if metric == AUTO:
        return known[0]
    matching = [name for name in known if metric in (name, name.rpartition("/")[2])]
    if matching:
        return matching[0]
    short = {name.rpartition("/")[2]: None for name in known}
    wanted = metric.rpartition("/")[2].lower()
    by_lower = {name.lower(): name for name in short}
    near = difflib.get_close_matches(wanted, by_lower, n=NEAREST, cutoff=0)
    raise UserError(
        f"--save-best {metric}: the evaluation has no such figure; the nearest are "
        f"{', '.join(by_lower[name] for name in near)}."
    )


def known_figures(cfg: Config) -> list[str]:
    """The full names of the figures that this project's evaluators give, the main ones first."""
    names = []
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope")):
        for evaluator in evaluators(cfg, "val"):
            kind = METRICS.get(evaluator["type"])
            if not hasattr(kind, "figure_names"):
                continue
            prefix = evaluator.get("prefix") or kind.default_prefix
            names += [f"{prefix}/{name}" for name in kind.figure_names(evaluator, _classes(cfg))]
    hooks = [hook.get("type") for hook in cfg.get("custom_hooks") or []]
    if "WeightAverageHook" in hooks and "BothWeights" in str(cfg.val_cfg.get("type")):
        names += [f"{name}{OF_AVERAGE}" for name in names]
    return names


def _classes(cfg: Config) -> int | None:
    return (cfg.model.get("backbone") or {}).get("num_classes")
