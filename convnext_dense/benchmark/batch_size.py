"""The largest batch that fits, found by trying."""

from collections.abc import Callable

from convnext_dense.errors import UserError

MAX_BATCH = 2**14  # tiny images fit in any number, and larger batches are no faster


def largest_batch(fits: Callable[[int], bool]) -> int:
    """The largest power of two for which ``fits`` holds, at most ``MAX_BATCH``.

    Args:
        fits: Tries a batch size; sizes above one that does not fit are not tried.

    Raises:
        UserError: When not even one image fits.
    """
    if not fits(1):
        raise UserError(
            "Not even one image fits into the GPU's memory: lower --image-size, or compare fewer "
            "models at once."
        )
    size = 1
    while size < MAX_BATCH and fits(2 * size):
        size *= 2
    return size
