"""Trained models of torch, by whatever name a user gives them."""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from convnext_dense.config.safe_reading import safe_reading
from convnext_dense.detection.best_thresholds import read_best_thresholds
from convnext_dense.errors import UserError
from convnext_dense.inference.model import Model
from convnext_dense.inference.network import Network
from convnext_dense.inference.trained.networks import Detector, PanopticSegmentor, Segmentor
from convnext_dense.inference.trained.opening import Opened, open_named
from convnext_dense.inference.trained.pretrained import PretrainedBackbone
from convnext_dense.tasks import check_predicts, entry_of
from convnext_dense.weights.checkpoints import take_average

NETWORKS = {kind.task: kind for kind in (Detector, Segmentor, PanopticSegmentor)}


@safe_reading()
def load_trained(
    source: str | os.PathLike,
    config: str | os.PathLike | None = None,
    device: str | None = None,
    ema: bool = False,
    part: str | None = None,
) -> Model:
    """:func:`convnext_dense.inference.model.load` for everything but exported models.

    Args:
        source, config, device, ema: As there.
        part: ``backbone`` also takes what was pretrained without labels, for an export of it.
    """
    opened = open_named(source, config)
    if ema:
        opened = replace(opened, content=take_average(opened.content, opened.source))
    network = build_network(opened, choose_device(device), part)
    best_thresholds = partial(
        read_best_thresholds,
        opened.content,
        network.classes,
        opened.source,
        Path(opened.source).parent,
        ema,
    )
    return Model(network, opened.source, palette_of(opened), best_thresholds)


def build_network(opened: Opened, device: torch.device, part: str | None = None) -> Network:
    """The network of a checkpoint, in evaluation mode, on its device.

    Raises:
        UserError: When it cannot be built, or predicts nothing.
    """
    entry = entry_of(opened.config) if opened.config is not None else None
    if entry is not None and not entry.headline and part == "backbone":
        return PretrainedBackbone(opened, device)
    if entry is not None:
        check_predicts(opened.config, opened.source)
    if entry is not None and entry.toolbox:
        return NETWORKS[entry.name](opened, device)
    from convnext_dense.inference.trained.classifier import Classifier  # needs timm's transforms

    return Classifier(opened, device)


def palette_of(opened: Opened) -> Sequence[Sequence[int]] | None:
    """RGB of each class as the training data brought it, where the checkpoint has it."""
    meta = opened.content.get("meta") or {}
    return (meta.get("dataset_meta") or {}).get("palette")


def choose_device(name: str | None) -> torch.device:
    """The named device; without a name the GPU where there is one.

    Raises:
        UserError: When there is no such device here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"Device {name!r} is not available here: {str(error).splitlines()[0]}"
        ) from error
