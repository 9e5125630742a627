"""``--augment``: other changes of the training images than the recipe's."""

from collections.abc import Mapping
from typing import Any

from convnext_dense.config.config_tree import datasets
from convnext_dense.errors import UserError
from convnext_dense.tasks import task_of

RECIPE = "recipe"
ENDS = ("Load", "Pack")  # names of steps that begin and end a pipeline begin so


def use_augmentation(cfg: Any, choice: str) -> None:
    """Puts a choice's steps in the place of the recipe's, between loading and packing.

    Args:
        cfg: A config that was fitted to its data; changed in place.
        choice: One of ``AUGMENT`` in ``cli/shared/finetune_arguments.py``.

    Raises:
        UserError: For a task or data that the choice is not made for.
    """
    if choice == RECIPE:
        return
    steps = task_of(cfg).augmentation_steps(cfg, choice)
    for dataset in datasets(cfg, "train"):
        dataset.pipeline = _between(dataset.get("pipeline") or [], steps, choice)


def describe_augmentation(cfg: Any, choice: str) -> str:
    """The steps that change training images, in a line."""
    (dataset, *_) = datasets(cfg, "train")
    kinds = [_kind(step) for step in dataset.pipeline]
    steps = [kind for kind in kinds if not kind.startswith(ENDS)]
    return f"--augment {choice}: {', '.join(steps) or 'no step'}"


def _kind(step: Mapping[str, Any]) -> str:
    """The class of a step, without its module."""
    return str(step["type"]).rsplit(".", 1)[-1]


def _between(
    pipeline: list[Mapping[str, Any]], steps: list[dict[str, Any]], choice: str
) -> list[Mapping[str, Any]]:
    """The pipeline's steps that load, others, and those that pack."""
    loading, packing = (
        [step for step in pipeline if _kind(step).startswith(start)] for start in ENDS
    )
    if not loading or len(packing) != 1:
        raise UserError(
            f"--augment {choice} replaces what stands between the Load... and the Pack... steps of "
            "the training pipeline, and this one has no such steps: leave --augment out."
        )
    return [*loading, *steps, *packing]
