"""Images and objects that are made up, to try how much memory a step needs."""

from typing import Any

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData, PixelData

from convnext_dense.config.config_tree import walk
from convnext_dense.data.coco.mask_branch import predicts_masks

# Objects of an image: as many as COCO's fullest images have. RoI heads take as many positive
# samples as they may only where there are many objects, or once their proposals are good.
OBJECTS = 100


def trial_batch(cfg: Any, images: int, size: tuple[int, int]) -> dict[str, Any]:
    """Noise with many objects of all sizes, as a detector's arguments.

    Args:
        cfg: A config that was fitted to its data.
        images: How many.
        size: Height and width in pixels.
    """
    steps = list(walk(cfg.train_dataloader.dataset))
    panoptic = any("Panoptic" in str(step.get("type")) for step in steps)
    reads_masks = panoptic or any(step.get("with_mask") for step in steps)
    masks = reads_masks and predicts_masks(cfg.model)  # a detector of boxes has none of them read
    segments = panoptic or any(step.get("with_seg") for step in steps)
    draw = np.random.default_rng(0)
    samples = [_sample(draw, size, masks, segments) for _ in range(images)]
    channels = cfg.model.get("backbone", {}).get("in_channels", 3)
    return dict(inputs=torch.randn(images, channels, *size), data_samples=samples)


def _sample(
    draw: np.random.Generator, size: tuple[int, int], masks: bool, segments: bool
) -> DetDataSample:
    height, width = size
    sides = draw.uniform(0.05, 0.5, (OBJECTS, 2))
    start = draw.uniform(0, 1 - sides)
    boxes = (np.hstack([start, start + sides]) * [width, height, width, height]).astype(np.float32)
    truth = InstanceData(
        bboxes=torch.from_numpy(boxes), labels=torch.zeros(OBJECTS, dtype=torch.long)
    )
    if masks:
        truth.masks = BitmapMasks(_rectangles(boxes, size), height, width)
    meta = dict(
        img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size,
        scale_factor=(1.0, 1.0), flip=False, img_id=0, img_path="",
    )  # fmt: skip
    sample = DetDataSample(metainfo=meta, gt_instances=truth, ignored_instances=_none())
    if segments:
        sample.gt_sem_seg = PixelData(sem_seg=torch.zeros(1, *size, dtype=torch.long))
    return sample


def _rectangles(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask (height, width) for each box."""
    masks = np.zeros((len(boxes), *size), np.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes.astype(int), strict=True):
        mask[top : bottom + 1, left : right + 1] = 1
    return masks


def _none() -> InstanceData:
    return InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
