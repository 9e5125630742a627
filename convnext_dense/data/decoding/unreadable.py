"""Images that cannot be read: the next one takes their place, and a hook counts them."""

from collections.abc import Callable
from typing import TypeVar

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from PIL import Image

from convnext_dense.errors import UserError

# Exceptions that Pillow raises for damaged files.
DAMAGED_FILE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
MAX_UNREADABLE_IN_A_ROW = 100  # more than that: the disk is broken, not some images
Decoded = TypeVar("Decoded")


def first_readable(
    decode: Callable[[int], Decoded], path_of: Callable[[int], str], index: int, length: int
) -> tuple[Decoded, int, list[tuple[str, str]]]:
    """Decodes an image, or the next one of the dataset that can be read.

    Args:
        decode: Decodes the image of an index.
        path_of: The name of its file.
        index: The image that is wanted.
        length: Images of the dataset; the first one follows the last.

    Returns:
        What was decoded, its index, and (path, reason) of each image that could not be read.

    Raises:
        UserError: When too many in a row cannot be read.
    """
    unreadable: list[tuple[str, str]] = []
    while True:
        try:
            return decode(index), index, unreadable
        except DAMAGED_FILE_ERRORS as error:
            unreadable.append((path_of(index), f"{type(error).__name__}: {error}"))
        if len(unreadable) == min(MAX_UNREADABLE_IN_A_ROW, length):
            raise UserError(
                f"{len(unreadable)} images in a row cannot be read, the first of them "
                f"{unreadable[0][0]} ({unreadable[0][1]}): check the disk and the data."
            )
        index = (index + 1) % length


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
