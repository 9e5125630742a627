"""Random numbers from a seed for a while, in all three libraries that transforms draw from."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded_random(seed: int | None) -> Iterator[None]:
    """Seeds Python's, numpy's and torch's random numbers for a while, then gives them back.

    Args:
        seed: Below 2**32; with None nothing happens.
    """
    if seed is None:
        yield
        return
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPU as well
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
