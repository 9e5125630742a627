"""Exported models in the test loop: the data, metrics and files of a checkpoint's test."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.structures import InstanceData, PixelData
from torch import nn

from convnext_dense.config.config_tree import datasets
from convnext_dense.config.names import EXPORTED
from convnext_dense.config.plain import read_plain_file
from convnext_dense.config.reading import add_import
from convnext_dense.config.settled_config import SettledConfig
from convnext_dense.data.bands.settings import Start
from convnext_dense.data.coco.mask_branch import drop_mask_branch
from convnext_dense.data.fit import settle_with_data
from convnext_dense.errors import UserError
from convnext_dense.exported.description import Description, read_description
from convnext_dense.exported.loading import NETWORKS, load_exported
from convnext_dense.exported.preparation import Prepared
from convnext_dense.inference.instances import Instances
from convnext_dense.inference.rle_codec import decode
from convnext_dense.inference.sources import SourceImage
from convnext_dense.inference.steps import Whole


@MODELS.register_module()
class ExportedModel(nn.Module):
    """An exported model in the place of a config's model.

    Args:
        folder: Of the export.
        bitmaps: Masks are tensors, which drawings need, and not COCO's encodings.
    """

    def __init__(self, folder: str, bitmaps: bool = False) -> None:
        super().__init__()
        self.network = load_exported(folder).network
        self.bitmaps = bitmaps

    def test_step(self, data: Mapping[str, Any]) -> list[Any]:
        """The results of a batch.

        Args:
            data: ``inputs``: images (C, height, width) as they were read; of a classifier's loader
                uint8 (B, C, side, side). Beside them the toolbox's ``data_samples``, or
                ``targets`` and ``paths``.

        Returns:
            The data samples with what was found, or the dicts of our classifiers.
        """
        if self.network.task == "classification":
            return self._classify(data)
        step = Whole(self.network, tta=False, probabilities=False)
        samples = data["data_samples"]
        images = [
            SourceImage(_colours(image), sample.img_path)
            for image, sample in zip(data["inputs"], samples, strict=True)
        ]
        outcomes = step.predict([step.prepare(image) for image in images])
        for sample, outcome in zip(samples, outcomes, strict=True):
            if isinstance(outcome, Instances):
                sample.pred_instances = self._instances(outcome, sample.ori_shape)
                if (truth := sample.get("gt_instances")) is not None and "bboxes" in truth:
                    # As mmdet's preprocessor leaves them: drawings need plain tensors.
                    truth.bboxes = getattr(truth.bboxes, "tensor", truth.bboxes)
            else:
                labels = outcome.labels.astype(np.int64)
                sample.pred_sem_seg = PixelData(data=torch.from_numpy(labels)[None])
        return samples

    def _instances(self, found: Instances, size: tuple[int, int]) -> InstanceData:
        made = InstanceData(
            bboxes=torch.from_numpy(found.boxes),
            scores=torch.from_numpy(found.scores),
            labels=torch.from_numpy(found.labels),
        )
        if found.masks is not None:
            made.masks = found.masks
            if self.bitmaps:
                made.masks = torch.zeros(len(found), *size, dtype=torch.bool)
                for row, mask in enumerate(found.masks):
                    made.masks[row] = torch.from_numpy(decode(mask) > 0)
        return made

    def _classify(self, data: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The loader's transform has prepared the images as the graph takes them."""
        pixels = data["inputs"].numpy().astype(np.float32)
        images = [Prepared(one, one.shape[1:], one.shape[1:], (1.0, 1.0)) for one in pixels]
        logits = torch.from_numpy(self.network.run(images)["logits"]) if images else []
        return [
            dict(logits=row, label=label, path=path)
            for row, label, path in zip(logits, data["targets"], data["paths"], strict=True)
        ]


def _colours(image: torch.Tensor) -> np.ndarray:
    """An image (C, height, width) of the loader as networks take it: RGB, or its bands."""
    pixels = image.permute(1, 2, 0).numpy()
    return np.ascontiguousarray(pixels[..., ::-1] if pixels.shape[-1] == 3 else pixels)


def settle_exported(
    folder: Path, config: str, draws: bool, own_data: Any = None, **flags: Any
) -> SettledConfig:
    """The config of the test of an exported model.

    Args:
        folder: Of the export.
        config: Config file whose data and metrics count.
        draws: Whether images of the results are written.
        own_data, flags: See :func:`convnext_dense.data.fit.settle_with_data`.

    Raises:
        UserError: For a model or data that does not fit.
    """
    description = read_description(folder)
    if description.task not in NETWORKS:
        raise UserError(
            f"{folder} is a backbone alone, which finds nothing: test a whole exported model."
        )
    settled = settle_with_data(
        config,
        splits=("test",),
        classes=description.classes,
        own_data=own_data and replace(own_data, trained=description.classes),
        start=lambda: Start(description.channels, _trained_config(folder)),
        **flags,
    )
    with settled.changing("the exported model") as cfg:
        _use(cfg, folder, description, draws)
    return settled


def _trained_config(folder: Path) -> dict[str, Any]:
    """The config of the training, which says how its images were read."""
    path = folder / EXPORTED
    return read_plain_file(path) if path.is_file() else {}


def _use(cfg: Config, folder: Path, description: Description, draws: bool) -> None:
    """Puts the exported model in the model's place; it resizes images itself."""
    if description.task == "detection" and "masks" not in description.outputs:
        drop_mask_branch(cfg)
    for dataset in datasets(cfg, "test"):
        if "pipeline" in dataset:
            dataset.pipeline = _without_resizing(dataset.pipeline)
    cfg.model = dict(type=ExportedModel.__name__, folder=str(folder), bitmaps=draws)
    cfg.load_from, cfg.resume = None, False
    add_import(cfg, __name__)


def _without_resizing(pipeline: Sequence[Any]) -> list[Any]:
    return [step for step in pipeline if step.type.split(".")[-1] != "Resize"]
