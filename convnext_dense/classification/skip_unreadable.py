"""Pictures that cannot be read: reported, counted, and too many of them end the run."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from convnext_dense.errors import UserError


@HOOKS.register_module()
class SkippedPicturesHook(Hook):
    """Reports every unreadable picture once, in the training process, whoever read it.

    In training another picture takes its place; in a test it is left out of the figures, which
    say how many were counted.

    Args:
        limit: Distinct unreadable pictures of one process that end the run, when exceeded.
    """

    priority = "VERY_HIGH"

    def __init__(self, limit: int = 100) -> None:
        self.limit = limit
        self.seen: set[str] = set()

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Reports the training batch's unreadable pictures."""
        self._report(runner, data_batch)

    def before_val_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Reports the validation batch's unreadable pictures."""
        self._report(runner, data_batch)

    def before_test_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Reports the test batch's unreadable pictures."""
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
            kinds = [hook.get("type") for hook in runner.cfg.get("custom_hooks", [])]
            place = kinds.index(type(self).__name__) if type(self).__name__ in kinds else "N"
            raise UserError(
                f"{len(self.seen)} pictures cannot be read, the last of them {path}; the limit is "
                f"{self.limit}: mend the data, or raise the limit with "
                f"--cfg-options custom_hooks.{place}.limit=NUMBER."
            )
