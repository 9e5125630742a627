"""The largest batch that fits, found by trying."""

from collections.abc import Callable

from convnext_dense.errors import UserError

MOST = 2**14  # tiny pictures fit in any number, and a larger batch is no faster


def largest_batch(fits: Callable[[int], bool]) -> int:
    """The largest power of two for which ``fits`` holds, at most ``MOST``.

    Args:
        fits: Tries a batch; a batch larger than one that does not fit is not tried.

    Raises:
        UserError: When not even one picture fits.
    """
    if not fits(1):
        raise UserError(
            "Not even one picture fits into the GPU's memory: lower --image-size, or compare fewer "
            "models at once."
        )
    size = 1
    while size < MOST and fits(2 * size):
        size *= 2
    return size
