"""Images as the network gets them: the config's own pipeline and preprocessor, undone last."""

import warnings
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.registry import DATASETS, MODELS
from mmengine.runner import set_random_seed
from torch import nn

from convnext_dense.data.bands.load_image import connect_pipelines
from convnext_dense.data.bands.reading import shown
from convnext_dense.data.text_files import opening_annotation_files
from convnext_dense.runs.noise import filter_warnings

TRUTH_STEPS = ("LoadAnnotations", "LoadLabels", "LoadSegments")


@dataclass(frozen=True)
class Sample:
    """One image as the network gets it.

    Attributes:
        image: RGB, uint8 (height, width, 3); padding has the colour of the mean.
        truth: The toolbox's data sample, in the pixels of ``image``.
    """

    image: np.ndarray
    truth: Any


def build_dataset(config: ConfigDict, **changes: Any) -> BaseDataset:
    """Builds a dataset in the current scope, without pycocotools' chatter."""
    with opening_annotation_files():
        dataset = DATASETS.build({**deepcopy(config), **changes})
    connect_pipelines(dataset)
    return dataset


def truth_first(pipeline: list[ConfigDict]) -> list[ConfigDict]:
    """A pipeline that reads the truth right after the image.

    Test pipelines read it after the resize, so that it stays in the image's own pixels.
    """
    truth = [step for step in pipeline if step["type"].split(".")[-1] in TRUTH_STEPS]
    others = [step for step in pipeline if step not in truth]
    return [others[0], *truth, *others[1:]]


def build_preprocessor(cfg: Config) -> nn.Module:
    """The model's own preprocessor: channel order, normalisation, padding."""
    return MODELS.build(cfg.model.data_preprocessor)


def take(
    dataset: BaseDataset, index: int, preprocessor: nn.Module, seed: int, training: bool
) -> Sample:
    """Sample ``index`` after pipeline and preprocessor, the same again for the same seed.

    Args:
        dataset: The dataset with its pipeline.
        index: Which image.
        preprocessor: See :func:`build_preprocessor`.
        seed: Seed of the augmentation; with ``index`` it settles the sample.
        training: Whether the preprocessor pads as in training.
    """
    set_random_seed((seed * 1_000_003 + index) % 2**32)
    batch = pseudo_collate([dataset[index]])
    with warnings.catch_warnings():
        filter_warnings()  # mmdet's masks are padded through lists
        batch = preprocessor(batch, training=training)
    return Sample(to_image(batch["inputs"][0], preprocessor), batch["data_samples"][0])


def to_image(inputs: torch.Tensor, preprocessor: nn.Module) -> np.ndarray:
    """Undoes the normalisation of inputs (channels, height, width); the network's order is RGB.

    A wrong channel order of a config shows as wrong colours.
    """
    if "mean" in dict(preprocessor.named_buffers()):
        inputs = inputs * preprocessor.std + preprocessor.mean
    return shown(inputs.permute(1, 2, 0).float().numpy())


def describe(truth: Any) -> str:
    """One line on a sample: its file, its size and what the augmentation made of it."""
    height, width = truth.ori_shape[:2]
    new_height, new_width = truth.img_shape[:2]
    text = f"{width} x {height} to {new_width} x {new_height}"
    return text + ", mirrored" if truth.get("flip") else text
