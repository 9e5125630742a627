"""The memory of a training step, predicted from small steps of the run's own model.

What a place of the step needs grows evenly with the images, and with their pixels. Three small
steps tell how, on the run's device and in its precision, so fused kernels and mixed precision are
in it. The peak is the largest place at the size that is asked for, and not a line through the peaks
of small steps: with small images heads decide, with large ones the backbone.

Counted are tensors, as torch's allocators count them. What the libraries take beside (workspaces,
fragments between tensors) is left to ``MARGIN``.
"""

import gc
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from convnext_dense.config.config_tree import walk
from convnext_dense.engine.random_state import without_drawing
from convnext_dense.errors import UserError
from convnext_dense.models.block import Block
from convnext_dense.models.lora import add_adapters
from convnext_dense.preflight.memory.curve import Curve, record_step
from convnext_dense.preflight.start_check import AVERAGES, optimizer_bytes
from convnext_dense.tasks import task_of

MARGIN = 1.1  # a setting fits where it has so much more than it is predicted to need
GRID = 32  # pixels: sides of the small images are multiples of it
LEAST = 64  # pixels: smaller ones end in maps of one pixel, which some heads do not take
SMALL = 256 * 256  # pixels up to which a step is tried at full size
SHARE = 1 / 2  # of the side of larger images

Size = tuple[int, int]


@dataclass(frozen=True)
class Standing:
    """Bytes that are in use over the whole step.

    Attributes:
        weights: Weights and buffers, those of an average of the weights too.
        optimizer: The optimizer's state.
        gradients: Of the trained parameters. A step of several batches has them from its second
            batch on, a step of one batch has none when it begins.
        copies: What processes hold beside: gradients on their way, gathered weights.
    """

    weights: int
    optimizer: int
    gradients: int
    copies: int = 0


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
    small, large = trial_sizes(size, multiple_of(cfg))
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


def build_trial_model(cfg: Config, checkpointing: bool | str | None) -> nn.Module:
    """The model of a config as it trains, on the device, with weights as they are built.

    Stochastic depth is off: a batch that drops no sample needs the most.
    """
    described = cfg.model.copy()
    if checkpointing is not None:
        described = Config(dict(model=described.to_dict())).model
        described.backbone.with_cp = checkpointing
    for node in walk(described):
        if node.get("type") == "SyncBN":  # one process tries; the memory is the same
            node["type"] = "BN"
    model = MODELS.build(described)
    if cfg.get("lora"):
        add_adapters(model.backbone, cfg.lora["rank"])
    for module in model.modules():
        if hasattr(module, "drop_prob"):
            module.drop_prob = 0.0
    return model.to(get_device()).train()


def record(cfg: Config, model: nn.Module, images: int, size: Size) -> Curve:
    """One step with images of a size.

    Raises:
        UserError: Where even this one finds no room.
    """
    batch = task_of(cfg).trial_batch(cfg, images, size)
    model.zero_grad(set_to_none=True)
    device = torch.device(get_device()).type

    def step() -> None:
        with precision(cfg, device):
            arguments = model.data_preprocessor.cast_data(batch)
            losses = model(**arguments, mode="loss")
        model.parse_losses(losses)[0].backward()

    try:
        return record_step(model, step, device)
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"--fit-memory: there is not even room for a step of {images} image of {size[0]} x "
            f"{size[1]} pixels: end other programs on this GPU, or take a smaller model."
        ) from error
    finally:
        model.zero_grad(set_to_none=True)


def precision(cfg: Config, device: str) -> AbstractContextManager:
    """Mixed precision as the run's."""
    wrapper = cfg.optim_wrapper
    if wrapper.get("type") != "AmpOptimWrapper":
        return nullcontext()
    return torch.autocast(device, getattr(torch, wrapper.get("dtype") or "float16"))


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


def trial_sizes(size: Size, multiple: int) -> tuple[Size, Size]:
    """Two sizes of small images with the proportions of the largest ones, the smaller one first."""
    share = 1 if math.prod(size) <= SMALL else SHARE
    large = tuple(_round(side * share, multiple) for side in size)
    small = tuple(_round(side * share * 2 / 3, multiple) for side in size)
    if small == large:
        large = tuple(2 * side for side in small)
    return small, large


def _round(side: float, multiple: int) -> int:
    return max(round(side / multiple), math.ceil(LEAST / multiple)) * multiple


def multiple_of(cfg: Config) -> int:
    """Pixels whose multiples the sides of a trial's images are."""
    return math.lcm(GRID, cfg.model.get("patch_size") or 1)


def batch_norms(cfg: Config) -> bool:
    """Whether a batch norm learns from the batches of a config's model."""
    return any(node.get("type") in ("BN", "SyncBN") for node in walk(cfg.model))


def least_batch(cfg: Config) -> int:
    """The fewest images of a batch: two where a batch norm may have a map of one pixel."""
    return 2 if batch_norms(cfg) else 1


def standing_bytes(cfg: Config, model: nn.Module, processes: int) -> Standing:
    """What a run has in use over the whole step, of one of its processes."""
    weights = sum(_bytes(tensor) for tensor in (*model.parameters(), *model.buffers()))
    gradients = sum(_bytes(p) for p in model.parameters() if p.requires_grad)
    optimizer = optimizer_bytes(cfg, model)
    averages = sum(hook.get("type") in AVERAGES for hook in cfg.get("custom_hooks") or [])
    weights *= 1 + averages
    if cfg.get("fsdp"):
        shares = (math.ceil(part / processes) for part in (weights, optimizer, gradients))
        return Standing(*shares, copies=_gathered_bytes(model))
    # DistributedDataParallel reduces gradients in buckets beside them.
    return Standing(weights, optimizer, gradients, copies=gradients if processes > 1 else 0)


def _gathered_bytes(model: nn.Module) -> int:
    """Weights and gradients that FSDP has together at a time: two blocks, and all outside."""
    blocks = [sum(map(_bytes, m.parameters())) for m in model.modules() if isinstance(m, Block)]
    outside = sum(map(_bytes, model.parameters())) - sum(blocks)
    return 2 * (outside + 2 * max(blocks, default=0))


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def describe(prediction: Prediction, images: int, accumulated: int) -> Mapping[str, float]:
    """The parts of a prediction in bytes: what stands all the time, and what the step adds."""
    total = prediction.bytes(images, accumulated)
    standing = prediction.standing
    kept = standing.weights + standing.optimizer + standing.gradients + standing.copies
    return dict(standing=kept, activations=total - kept, total=total)
