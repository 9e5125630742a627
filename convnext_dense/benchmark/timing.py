"""Interleaved timing: rounds, their order, and their summary. Knows no networks."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter, sleep

import numpy as np
import torch

MIN_ROUND_S = 0.2  # shorter rounds are dominated by the clock and the scheduler

Step = Callable[[], object]


@dataclass(frozen=True)
class WarmUp:
    """The result of a warm-up.

    Attributes:
        first_s: Seconds of the first iteration, which compiles a compiled model.
        rest_s: Seconds of the iterations after it.
        count: Number of iterations that take at least ``MIN_ROUND_S`` together.
    """

    first_s: float
    rest_s: float
    count: int


@dataclass(frozen=True)
class Summary:
    """A summary of one model's rounds.

    Attributes:
        images_per_s: Median.
        iqr: Third minus first quartile of images/s.
        quartiles: First and third quartile of images/s.
        ratio: ``images_per_s`` over that of the first peer; None without a peer.
    """

    images_per_s: float
    iqr: float
    quartiles: tuple[float, float]
    ratio: float | None


def seconds_of(step: Step, count: int, device: str) -> float:
    """Runs a step ``count`` times and waits for the device."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = perf_counter()
    for _ in range(count):
        step()
    if device == "cuda":
        torch.cuda.synchronize()
    return perf_counter() - start


def warm_up(step: Step, device: str) -> WarmUp:
    """Runs a step, and finds the number of iterations that make a round long enough."""
    first = seconds_of(step, 1, device)
    count, rest = 1, 0.0
    while (elapsed := seconds_of(step, count, device)) < MIN_ROUND_S:
        rest += elapsed
        count = max(count + 1, math.ceil(count * MIN_ROUND_S / max(elapsed, 1e-6)))
    return WarmUp(first, rest + elapsed, count)


def run_rounds(
    steps: Sequence[Step], counts: Sequence[int], rounds: int, device: str, pause: float = 0.0
) -> np.ndarray:
    """Times every step once per round, in reverse order in odd rounds.

    Args:
        steps: One per model.
        counts: Iterations per round of each model.
        rounds: Number of rounds.
        device: ``cpu`` or ``cuda``.
        pause: Seconds before each step.

    Returns:
        Seconds per iteration, (steps, rounds).
    """
    seconds = np.empty((len(steps), rounds))
    for k in range(rounds):
        order = range(len(steps))
        for i in order if k % 2 == 0 else reversed(order):
            sleep(pause)
            seconds[i, k] = seconds_of(steps[i], counts[i], device) / counts[i]
    return seconds


def summarise(images_per_s: np.ndarray) -> list[Summary]:
    """Medians and quartiles of every model.

    Args:
        images_per_s: (models, rounds), our model first, then the peers.
    """
    quartiles = np.percentile(images_per_s, (25, 50, 75), axis=1).T.tolist()
    medians = [median for _, median, _ in quartiles]
    ratios = [median / medians[1] for median in medians] if len(medians) > 1 else [None]
    return [
        Summary(images_per_s=median, iqr=high - low, quartiles=(low, high), ratio=ratio)
        for (low, median, high), ratio in zip(quartiles, ratios, strict=True)
    ]
