"""Distillation: a student learns the feature maps of a frozen, larger teacher, without labels.

The targets are the teacher's features, whitened by a LayerNorm without parameters, and the loss is
smooth L1: Feature Distillation (arXiv 2205.14141). The views are DINO's multi-crop.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor, nn

from convnext_dense.errors import UserError
from convnext_dense.models.staged_network import check_out_indices, init_layer
from convnext_dense.self_supervised.teacher import Teacher

BETA = 2.0  # of the smooth L1 loss, in standard deviations of the teacher's features


@MODELS.register_module()
class Distillation(BaseModel):
    """A student that is trained towards a teacher's feature maps, by linear projections.

    - ``loss_dense``: the student's feature maps of the global crops towards the teacher's of the
      same crops, position by position, at some stages: what detectors and segmentors read.
    - ``loss_pooled``: the pooled last map of global and local crops towards the teacher's mean over
      the image's global crops: a part is to tell what the whole shows.

    The student is ``backbone`` in checkpoints. The teacher is in none of them.

    Args:
        backbone: Config of a ConvNeXtTrunk.
        teacher: ``dict(checkpoint=FILE)``, and ``prefix`` for a file of several backbones.
        data_preprocessor: Config of a ViewsPreprocessor. Teacher and student see the same pixels.
        stages: Stages whose feature maps are compared, out of 0 to 3, the last one among them.
        dense_weight, pooled_weight: Factors of the two losses.
        init_cfg: Any mmengine initialiser.

    Raises:
        UserError: For a missing or unfit teacher, or stages that do not exist.
    """

    def __init__(
        self,
        backbone: dict[str, Any],
        teacher: dict[str, Any],
        data_preprocessor: dict[str, Any],
        stages: Sequence[int] = (1, 2, 3),
        dense_weight: float = 1.0,
        pooled_weight: float = 1.0,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.stages = check_out_indices(stages)
        if self.stages[-1] != 3:
            raise UserError(f"model.stages must contain the last stage, 3, got {self.stages}.")
        self.weights = dict(dense=dense_weight, pooled=pooled_weight)
        self.backbone = MODELS.build(backbone)
        self.teacher = Teacher(**teacher)
        pairs = [(self.backbone.dims[i], self.teacher.dims[i]) for i in self.stages]
        self.projections = nn.ModuleList(nn.Conv2d(*pair, 1) for pair in pairs)
        self.pooled_projection = nn.Linear(*pairs[-1])
        self.projections.apply(init_layer)
        init_layer(self.pooled_projection)

    def forward(
        self,
        inputs: Tensor,
        crops: Tensor | None = None,
        paths: list[str] | None = None,
        mode: str = "tensor",
    ) -> Tensor | dict[str, Tensor]:
        """Runs one batch of N images.

        Args:
            inputs: Normalised global crops (N V, 3, H, W), those of an image one after another.
            crops: Local crops (N L, 3, h, w).
            paths: Names of the images (N).
            mode: ``tensor`` returns the student's last feature map, (N V, D, H / 32, W / 32);
                ``loss`` returns ``loss_dense`` and ``loss_pooled``, scalars.
        """
        maps = list(self.backbone.stage_maps(inputs))
        if mode == "tensor":
            return maps[-1]
        targets = self.teacher(inputs)
        dense = [
            compare(projection(maps[i]), whiten(targets[i]))
            for i, projection in zip(self.stages, self.projections, strict=True)
        ]
        images = len(paths)
        whole = whiten(pool(targets[-1])).unflatten(0, (images, -1)).mean(1, keepdim=True)
        views = [pool(maps[-1]).unflatten(0, (images, -1))]
        if crops is not None:
            *_, local = self.backbone.stage_maps(crops)
            views.append(pool(local).unflatten(0, (images, -1)))
        projected = self.pooled_projection(torch.cat(views, 1))
        pooled = F.smooth_l1_loss(projected.float(), whole.expand_as(projected), beta=BETA)
        losses = dict(dense=torch.stack(dense).mean(), pooled=pooled)
        return {f"loss_{name}": self.weights[name] * loss for name, loss in losses.items()}


def whiten(features: Tensor) -> Tensor:
    """Features (N, C, ...) with mean 0 and variance 1 over the channels, in float32."""
    x = features.float().movedim(1, -1)
    return F.layer_norm(x, x.shape[-1:]).movedim(-1, 1)


def pool(features: Tensor) -> Tensor:
    """The mean (N, C) of feature maps (N, C, H, W)."""
    return features.mean(dim=(-2, -1))


def compare(projected: Tensor, target: Tensor) -> Tensor:
    """Smooth L1 between feature maps of one size."""
    return F.smooth_l1_loss(projected.float(), target, beta=BETA)
