"""What networks of torch work in."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from convnext_dense.config.safe_reading import safe_reading
from convnext_dense.runs.noise import filter_warnings


@contextmanager
def reading_safely() -> Iterator[None]:
    """Has mmengine refuse pickles, and leaves out what libraries warn of themselves."""
    with safe_reading(), warnings.catch_warnings():
        filter_warnings()
        yield
