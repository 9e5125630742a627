"""A hook that reports unreadable images, and ends the run if there are too many."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from convnext_dense.errors import UserError


@HOOKS.register_module()
class SkipUnreadableHook(Hook):
    """Reports each unreadable image once, in the training process.

    In training another image replaces it. In a test it is left out, and the figures contain the
    number of images.

    Args:
        limit: The run ends if one process finds more distinct unreadable images than this.
    """

    priority = "VERY_HIGH"

    def __init__(self, limit: int = 100) -> None:
        self.limit = limit
        self.seen: set[str] = set()

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Reports the training batch's unreadable images."""
        self._report(runner, data_batch)

    def before_val_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Reports the validation batch's unreadable images."""
        self._report(runner, data_batch)

    def before_test_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Reports the test batch's unreadable images."""
        self._report(runner, data_batch)

    def _report(self, runner, data_batch: dict) -> None:
        for path, reason in data_batch["unreadable"]:
            if path in self.seen:
                continue
            self.seen.add(path)
            runner.logger.warning(
                f"{path} cannot be read and is skipped ({reason}); {len(self.seen)} so far."
            )
        if len(self.seen) > self.limit:
            types = [hook.get("type") for hook in runner.cfg.get("custom_hooks", [])]
            name = type(self).__name__
            index = types.index(name) if name in types else "N"
            raise UserError(
                f"{len(self.seen)} images cannot be read, the last of them {path}; the limit is "
                f"{self.limit}: repair the data, or raise the limit with "
                f"--cfg-options custom_hooks.{index}.limit=NUMBER."
            )
