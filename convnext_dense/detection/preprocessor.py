"""mmdet's preprocessor for images of any number of channels."""

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmengine.registry import MODELS


@MODELS.register_module()
class AnyChannelsPreprocessor(DetDataPreprocessor):
    """As mmdet's, which normalises 1 or 3 channels alone.

    Args:
        mean: A value a channel, in the order of the image.
        std: The same.
        options: See ``DetDataPreprocessor``.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], **options: Any) -> None:
        super().__init__(**options)
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), False)
        self._enable_normalize = True
