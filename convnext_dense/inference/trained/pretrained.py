"""A backbone of a pretraining without labels: it predicts nothing, and its maps can be exported."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.registry import MODELS
from torch import nn

from convnext_dense.errors import UserError
from convnext_dense.inference.network import Network
from convnext_dense.inference.trained.networks import building
from convnext_dense.inference.trained.opening import Opened
from convnext_dense.tasks import check_predicts
from convnext_dense.weights.checkpoints import BACKBONE, compare, model_state


class StageMaps(nn.Module):
    """A trunk as a function of images: the feature map of each stage, with no norm behind it."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Maps images (N, C, H, W) to four maps (N, dims[i], H / 4 / 2**i, W / 4 / 2**i)."""
        return tuple(self.trunk.stage_maps(images))


class PretrainedBackbone(Network):
    """The backbone of a run of FCMAE or of a distillation; decoder and projections are left out.

    Args:
        opened: The checkpoint and its config.
        device: Where to run.

    Raises:
        UserError: For a checkpoint of another backbone.
    """

    task = "backbone"
    classes = ()

    def __init__(self, opened: Opened, device: torch.device) -> None:
        self.opened = opened
        settings = opened.config.model
        with building(opened):  # not the whole model: a distillation's needs its teacher's file
            trunk = MODELS.build({**settings.backbone, "init_cfg": None})
            preprocessor = MODELS.build(settings.data_preprocessor)
        state = {
            name.removeprefix(BACKBONE): value
            for name, value in model_state(opened.content).items()
            if name.startswith(BACKBONE)
        }
        fitting, differences = compare(trunk, state)
        if differences:
            raise UserError(
                f"{opened.source} is not a checkpoint of {opened.config_source}: {differences}"
            )
        trunk.load_state_dict(fitting)
        parts = dict(backbone=StageMaps(trunk), data_preprocessor=preprocessor)
        self.model = nn.ModuleDict(parts).to(device).eval()

    def prepare(self, image: np.ndarray, name: str, views: bool) -> None:
        """Refused: see :func:`convnext_dense.tasks.check_predicts`."""
        check_predicts(self.opened.config, self.opened.source)

    def check_views(self) -> None:
        """Refused, as :meth:`prepare`."""
        check_predicts(self.opened.config, self.opened.source)

    def size(self, prepared: Any) -> None:
        """Refused, as :meth:`prepare`."""
        check_predicts(self.opened.config, self.opened.source)

    def predict(self, prepared: Sequence[Any], views: bool, probabilities: bool) -> None:
        """Refused, as :meth:`prepare`."""
        check_predicts(self.opened.config, self.opened.source)
