"""The classifier that mmengine trains: a network with its classification loss."""

from typing import Any

import timm
import torch
import torch.nn.functional as F
from mmengine.model import BaseModel, BaseModule
from mmengine.registry import MODELS
from torch import nn


@MODELS.register_module()
class ImageClassifier(BaseModel):
    """A classifier with mmengine's modes ``loss``, ``predict`` and ``tensor``.

    Args:
        backbone: Config of a network with the attribute ``num_classes`` that maps (N, 3, H, W) to
            logits (N, num_classes): ConvNeXtClassifier, ConvNeXtRoadmapClassifier,
            IsotropicConvNeXt or TimmModel. Its weights are named ``backbone.`` in checkpoints, so
            a detector can start from them without renaming.
        data_preprocessor: Config of a ClassificationPreprocessor; the number of classes is taken
            from the network.
        init_cfg: Any mmengine initialiser.
    """

    def __init__(
        self,
        backbone: dict[str, Any],
        data_preprocessor: dict[str, Any],
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        network = MODELS.build(backbone)
        super().__init__(
            data_preprocessor=dict(data_preprocessor, num_classes=network.num_classes),
            init_cfg=init_cfg,
        )
        self.backbone = network

    def forward(
        self,
        inputs: torch.Tensor,
        targets: torch.Tensor | None = None,
        paths: list[str] | None = None,
        mode: str = "tensor",
    ) -> torch.Tensor | dict[str, torch.Tensor] | list[dict[str, Any]]:
        """Runs one batch.

        Args:
            inputs: Normalised images (N, 3, H, W).
            targets: For ``loss``, class probabilities (N, num_classes) that sum to 1; for
                ``predict``, labels (N,).
            paths: Names of the images, for ``predict``.
            mode: ``tensor`` returns logits (N, num_classes), ``loss`` returns ``{"loss": scalar}``,
                ``predict`` returns a dict for each image: ``logits`` (num_classes,), ``label``,
                ``path``.
        """
        if mode == "predict" and not len(inputs):  # every image of the batch was unreadable
            return []
        logits = self.backbone(inputs)
        if mode == "tensor":
            return logits
        if mode == "loss":
            return {"loss": F.cross_entropy(logits.float(), targets)}
        return [
            {"logits": row, "label": label, "path": path}
            for row, label, path in zip(logits, targets, paths, strict=True)
        ]


@MODELS.register_module()
class TimmModel(BaseModule):
    """A model of timm as the backbone, so that it is trained by the same loop as ours.

    Args:
        name: Name of the model in timm, such as ``convnext_atto``.
        num_classes: Outputs of the head.
        drop_path_rate: Drop path rate of the last block.
        layer_scale_init_value: Initial gamma of every block.
        init_cfg: Any mmengine initialiser.
    """

    def __init__(
        self,
        name: str,
        num_classes: int,
        drop_path_rate: float = 0.0,
        layer_scale_init_value: float = 1e-6,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.num_classes = num_classes
        self.model: nn.Module = timm.create_model(
            name,
            num_classes=num_classes,
            drop_path_rate=drop_path_rate,
            ls_init_value=layer_scale_init_value,
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps images (N, 3, H, W) to logits (N, num_classes)."""
        return self.model(x.contiguous(memory_format=torch.channels_last))
