"""The dataset of COCO panoptic files, and the step that reads a PNG of segments.

mmdet's own (``CocoPanopticDataset``, ``LoadPanopticAnnotations``) need panopticapi, which is on no
package index. They also count the labels in the file's order, while its models want things before
stuff, and find a PNG by replacing ``.jpg`` in the image's name; here the file itself names it.
"""

import os
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.datasets.base_det_dataset import BaseDetDataset
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.registry import DATASETS, TRANSFORMS

from convnext_dense.data.panoptic.annotation_file import (
    PanopticImage,
    read_panoptic,
    trained_images,
)
from convnext_dense.data.panoptic.segments import read_segments

IGNORED = 255  # the label of pixels without a class, in mmdet's semantic heads too


@DATASETS.register_module()
class PanopticDataset(BaseDetDataset):
    """Images with segments of things and stuff.

    The engine sets ``metainfo``: ``classes``, things first, and ``thing_classes``. Segments of
    other classes belong to none. ``data_prefix`` names the folders ``img`` and ``seg``.
    """

    def load_data_list(self) -> list[dict[str, Any]]:
        """An entry for each image: paths, size, and its segments with labels."""
        labels = {name: label for label, name in enumerate(self.metainfo["classes"])}
        things = set(self.metainfo["thing_classes"])
        summary = read_panoptic(self.ann_file)
        images = summary.images
        if not self.test_mode:
            images = trained_images(summary, self.metainfo["classes"], self.filter_cfg)
        return [self._info(image, labels, things) for image in images]

    def _info(
        self, image: PanopticImage, labels: dict[str, int], things: set[str]
    ) -> dict[str, Any]:
        segments = [
            dict(
                id=segment.id,
                category=labels[segment.category],
                # As in mmdet: of a crowd no instance is made.
                is_thing=segment.category in things and not segment.is_crowd,
                is_crowd=segment.is_crowd,
            )
            for segment in image.segments
            if segment.category in labels
        ]
        folders = self.data_prefix
        return dict(
            img_id=image.id,
            img_path=os.path.join(folders["img"], image.file_name),
            seg_map_path=image.png and os.path.join(folders["seg"], image.png),
            width=image.size[0],
            height=image.size[1],
            segments_info=segments,
        )


@TRANSFORMS.register_module()
class LoadSegments(BaseTransform):
    """Reads the PNG of an image's segments.

    Needs ``seg_map_path`` and ``segments_info`` of :class:`PanopticDataset`. Adds of the things
    ``gt_masks``, ``gt_bboxes`` (of the masks: left, top, right, bottom), ``gt_bboxes_labels`` and
    ``gt_ignore_flags`` (none is), and ``gt_seg_map``, uint8 (height, width): the label of each
    pixel, 255 where it has none. Crowds are in the last alone.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Reads one image's; an image without a PNG stays as it is."""
        if results.get("seg_map_path") is None:
            return results
        ids = read_segments(results["seg_map_path"])
        seg_map = np.full(ids.shape, IGNORED, np.uint8)
        masks, labels, boxes = [], [], []
        for segment in results["segments_info"]:
            mask = ids == segment["id"]
            seg_map[mask] = segment["category"]
            if segment["is_thing"] and (box := box_of(mask)) is not None:
                masks.append(mask.astype(np.uint8))
                labels.append(segment["category"])
                boxes.append(box)
        results["gt_seg_map"] = seg_map
        results["gt_masks"] = BitmapMasks(masks, *ids.shape)
        results["gt_bboxes"] = HorizontalBoxes(np.array(boxes, np.float32).reshape(-1, 4))
        results["gt_bboxes_labels"] = np.array(labels, np.int64)
        results["gt_ignore_flags"] = np.zeros(len(labels), bool)
        return results


def box_of(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom of a mask, the latter two exclusive; None for an empty one."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
