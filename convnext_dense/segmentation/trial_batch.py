"""Images and labels that are made up, to try how much memory a step needs."""

from typing import Any

import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample


def trial_batch(cfg: Any, images: int, size: tuple[int, int]) -> dict[str, Any]:
    """Noise in which every pixel has the first class, as a segmentor's arguments.

    Args:
        cfg: A config that was fitted to its data.
        images: How many.
        size: Height and width in pixels.
    """
    meta = dict(img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size)
    samples = [
        SegDataSample(
            metainfo=meta, gt_sem_seg=PixelData(data=torch.zeros(1, *size, dtype=torch.long))
        )
        for _ in range(images)
    ]
    channels = cfg.model.backbone.get("in_channels", 3)
    return dict(inputs=torch.randn(images, channels, *size), data_samples=samples)
