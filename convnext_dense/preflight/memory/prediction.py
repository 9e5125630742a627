"""The memory of a training step, predicted from small steps of the run's own model.

What a place of the step needs grows evenly with the images, and with their pixels. Three small
steps tell how, on the run's device and in its precision, so fused kernels and mixed precision are
in it. The peak is the largest place at the size that is asked for, and not a line through the peaks
of small steps: with small images heads decide, with large ones the backbone.

Counted are tensors, as torch's allocators count them. What the libraries take beside (workspaces,
fragments between tensors) is left to the choice's margin.
"""

import contextlib
import ctypes
import gc
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from convnext_dense.engine.random_state import without_drawing
from convnext_dense.preflight.memory.curve import Curve
from convnext_dense.preflight.memory.image_size import GRID, Size
from convnext_dense.preflight.memory.standing import Standing, standing_bytes
from convnext_dense.preflight.memory.trial import build_trial_model, least_batch, record

LEAST = 64  # pixels: smaller ones end in maps of one pixel, which some heads do not take
SMALL = 256 * 256  # pixels up to which a step is tried at full size
SHARE = 1 / 2  # of the side of larger images


@dataclass(frozen=True)
class Activations:
    """How each place of a step grows: bytes = a + b images + c images x pixels, a row each.

    Attributes:
        with_gradients: Rows in which gradients are made on the way.
        without_gradients: Rows in which they are left out.
    """

    with_gradients: np.ndarray
    without_gradients: np.ndarray

    def peak(self, images: int, pixels: int, gradients: bool) -> float:
        """Bytes of a batch at most."""
        rows = self.with_gradients if gradients else self.without_gradients
        return float((rows @ [1, images, images * pixels]).max())


@dataclass(frozen=True)
class Prediction:
    """Predicts the memory of one step of a model.

    Attributes:
        standing: What is in use all the time.
        activations: What the step adds.
        size: Height and width of the largest images.
    """

    standing: Standing
    activations: Activations
    size: Size

    def bytes(self, images: int, accumulated: int) -> float:
        """Bytes of a step at most.

        Args:
            images: Of a batch in one process.
            accumulated: Batches of a step.
        """
        standing, pixels = self.standing, math.prod(self.size)
        kept = standing.weights + standing.optimizer + standing.copies
        if accumulated == 1:
            return kept + self.activations.peak(images, pixels, gradients=True)
        return kept + standing.gradients + self.activations.peak(images, pixels, gradients=False)


def predict_memory(
    cfg: Config, size: Size, checkpointing: bool | str | None, *, processes: int = 1
) -> Prediction:
    """Builds the model of a config, runs small steps with it, and forgets it again.

    Args:
        cfg: A config that was fitted to its data and machine.
        size: Height and width of the largest images.
        checkpointing: The backbone's ``with_cp``; None: the config's.
        processes: Number of training processes.
    """
    scope = cfg.get("default_scope") or "mmengine"
    with DefaultScope.overwrite_default_scope(scope):
        return without_drawing(lambda: _predict(cfg, size, checkpointing, processes))


def _predict(
    cfg: Config, size: Size, checkpointing: bool | str | None, processes: int
) -> Prediction:
    model = build_trial_model(cfg, checkpointing)
    small, large = trial_sizes(size, multiple_of(cfg), least_side(cfg))
    few = 2 if math.prod(size) <= SMALL else least_batch(cfg)
    # More images at the larger size: that is how a batch grows, and tiny maps have kernels of their
    # own.
    trials = [(few, small), (few, large), (2 * few, large)]
    try:
        record(cfg, model, few, small)  # what is made once: workspaces, tables of anchors
        curves = [record(cfg, model, images, sides) for images, sides in trials]
        activations = fit_places(curves, [(n, math.prod(sides)) for n, sides in trials])
        return Prediction(standing_bytes(cfg, model, processes), activations, size)
    finally:
        del model
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        give_back_free_memory()


def give_back_free_memory() -> None:
    """Returns to the system what the C library keeps of the trial: the run does not need it."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def fit_places(curves: list[Curve], trials: list[tuple[int, int]]) -> Activations:
    """How each place grows, from three steps of different images and pixels.

    Args:
        curves: What was recorded.
        trials: Images, and pixels of each, of every step.
    """
    common = [p for p in curves[0].peaks if all(p in curve.peaks for curve in curves)]
    steps = np.linalg.inv([[1, images, images * pixels] for images, pixels in trials])

    def rows(value: Callable[[Curve, Any], int]) -> np.ndarray:
        return (steps @ [[value(curve, place) for place in common] for curve in curves]).T

    return Activations(
        rows(lambda curve, place: curve.peaks[place]),
        rows(lambda curve, place: curve.peaks[place] - curve.gradients[place]),
    )


def trial_sizes(size: Size, multiple: int, least: int = LEAST) -> tuple[Size, Size]:
    """Two sizes of small images with the proportions of the largest ones, the smaller one first.

    Args:
        size: Height and width of the largest images.
        multiple: Pixels whose multiples the sides are.
        least: Pixels of a side at least.
    """
    share = 1 if math.prod(size) <= SMALL else SHARE
    large = tuple(_round(side * share, multiple, least) for side in size)
    small = tuple(_round(side * share * 2 / 3, multiple, least) for side in size)
    if small == large:
        large = tuple(2 * side for side in small)
    return small, large


def _round(side: float, multiple: int, least: int) -> int:
    return max(round(side / multiple), math.ceil(least / multiple)) * multiple


def least_side(cfg: Config) -> int:
    """Pixels of a side that an image of a trial has at least.

    A detector that chooses its queries among the places of its maps (strides 8 to 64: one for 48
    pixels) needs as many of these as queries.
    """
    needed = math.sqrt(48 * (cfg.model.get("num_queries") or 0))
    return max(LEAST, math.ceil(needed / GRID) * GRID)


def multiple_of(cfg: Config) -> int:
    """Pixels whose multiples the sides of a trial's images are."""
    return math.lcm(GRID, cfg.model.get("patch_size") or 1)
