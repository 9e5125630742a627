"""The last epochs of a training without mosaics or pasted objects."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from convnext_dense.errors import UserError
from convnext_dense.finetune.mixing import MixingStep


@HOOKS.register_module()
class MixingEndHook(Hook):
    """Takes steps that mix images out of the training pipeline for the last part of a run.

    YOLOX and RTMDet end so: the model sees images as they are before it is evaluated. mmdet's
    ``PipelineSwitchHook`` holds a whole second pipeline, which whatever fits a config to its data
    would have to find there. This one changes nothing else, and follows the length of the run, also
    in one that is resumed.

    Args:
        share: Part of the epochs without mixing, 0 to 1.

    Raises:
        UserError: For a share outside of [0, 1].
    """

    def __init__(self, share: float) -> None:
        if not 0 <= share <= 1:
            raise UserError(f"MixingEndHook: share must be in [0, 1], got {share!r}.")
        self.share = share

    def before_train_epoch(self, runner: Any) -> None:
        """Takes the steps out as soon as the last part has begun."""
        if runner.epoch < round(runner.max_epochs * (1 - self.share)):
            return
        loader = runner.train_dataloader
        steps = loader.dataset.pipeline.transforms
        mixing = [step for step in steps if isinstance(step, MixingStep)]
        if not mixing:
            return
        steps[:] = [step for step in steps if step not in mixing]
        names = ", ".join(type(step).__name__ for step in mixing)
        runner.logger.info(f"{names} ends with this epoch, {runner.epoch + 1}.")
        # Workers that outlive an epoch have the steps as they were: torch starts new ones.
        loader._iterator = None
