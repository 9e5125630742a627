"""The next thing is made in a thread while this one is used."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def prefetch(make: Callable[[Any], Any], items: Iterable) -> Iterator:
    """Yields ``make(item)`` of every item in order, each made while the one before it is used.

    For views of an image that the CPU resizes while a GPU computes: cv2 does not hold Python's
    lock. What ``make`` raises is raised where its result would have been yielded.
    """
    with ThreadPoolExecutor(1) as pool:
        waiting = None
        for item in items:
            following = pool.submit(make, item)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()
