"""Generated images with everything that a model may ask for: boxes, masks, labels of pixels."""

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample

THINGS = 80  # labels of stuff begin here, as in COCO's panoptic data
STUFF = 53


def image(size: int, number: int) -> torch.Tensor:
    """An image of noise, (3, size, size)."""
    noise = np.random.default_rng(number).integers(0, 256, (3, size, size), dtype=np.uint8)
    return torch.from_numpy(noise)


def boxes(size: int) -> np.ndarray:
    """Three boxes, small to large, as (3, 4) left, top, right, bottom."""
    return np.array([[2, 4, 22, 22], [40, 10, 90, 70], [8, 16, 120, 124]]) * size / 128


def detection_sample(size: int, number: int, classes: int, map_scale: float) -> DetDataSample:
    """Boxes, masks that fill them, proposals beside them, labels of pixels.

    Args:
        size: Height and width of the image, in pixels.
        number: Of the image in its batch.
        classes: Of the model: labels are below.
        map_scale: Size of the labels of pixels over that of the image (``SegRescale``).
    """
    corners = boxes(size)
    masks = np.zeros((len(corners), size, size), dtype=np.uint8)
    for mask, (left, top, right, bottom) in zip(masks, corners.astype(int), strict=True):
        mask[top:bottom, left:right] = 1
    sample = DetDataSample(
        metainfo=dict(
            img_id=number,
            img_shape=(size, size),
            ori_shape=(size, size),
            batch_input_shape=(size, size),
            pad_shape=(size, size),
            scale_factor=(1.0, 1.0),
            flip=False,
            flip_direction=None,
            border=np.array([0, size, 0, size]),  # CenterNet and CornerNet
            homography_matrix=np.eye(3),  # Soft Teacher
        )
    )
    sample.gt_instances = InstanceData(
        bboxes=HorizontalBoxes(corners, dtype=torch.float32),
        labels=torch.arange(len(corners)) % classes,
        masks=BitmapMasks(masks, size, size),
    )
    sample.ignored_instances = InstanceData(
        bboxes=HorizontalBoxes(torch.zeros(0, 4)), labels=torch.zeros(0, dtype=torch.long)
    )
    sample.proposals = InstanceData(  # Fast R-CNN
        bboxes=torch.from_numpy(corners + 1).float(), scores=torch.ones(len(corners))
    )
    side = int(size * map_scale)
    labels = THINGS + torch.arange(side * side).reshape(1, side, side) % STUFF
    sample.gt_sem_seg = PixelData(sem_seg=labels)
    return sample


def segmentation_sample(size: int, number: int, classes: int) -> SegDataSample:
    """Labels of pixels in squares, some ignored; edges and depths for the models that ask."""
    sample = SegDataSample(
        metainfo=dict(
            img_path=str(number),
            img_shape=(size, size),
            ori_shape=(size, size),
            pad_shape=(size, size),
            scale_factor=(1.0, 1.0),
            flip=False,
            flip_direction=None,
        )
    )
    squares = torch.arange(16).reshape(4, 4) % classes
    labels = squares.repeat_interleave(size // 4, 0).repeat_interleave(size // 4, 1)[None]
    labels[:, :2] = 255
    sample.gt_sem_seg = PixelData(data=labels)
    sample.gt_edge_map = PixelData(data=(labels != labels.roll(1, -1)).long())
    sample.gt_depth_map = PixelData(data=labels.float() % 10 + 1)
    return sample
