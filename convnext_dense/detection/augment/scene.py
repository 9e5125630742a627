"""An image with its instances, whose boxes and masks stay true to each other while it is changed.

Boxes are the extents of the masks, where there are masks. An object of which too little is left is
dropped; an ignored region (a crowd) is kept as long as there is any of it, since the loss must not
take what it covers for background.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks

from convnext_dense.finetune.mixing import Tile

MIN_VISIBLE = 0.2  # share of an object that must be left of it
Window = tuple[int, int, int, int]


@dataclass(frozen=True)
class Scene:
    """An image and what is on it.

    Attributes:
        image: (height, width, channels).
        boxes: Left, top, right, bottom in pixels, float32 (n, 4).
        labels: Class indices (n,).
        ignored: Whether nothing is trained on it (n,).
        masks: bool (n, height, width); None for data without masks.
    """

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    ignored: np.ndarray
    masks: np.ndarray | None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.image.shape[:2]

    def areas(self) -> np.ndarray:
        """Pixels of the masks, or of the boxes where there are none (n,)."""
        if self.masks is not None:
            return self.masks.sum((1, 2))
        return np.prod(np.clip(self.boxes[:, 2:] - self.boxes[:, :2], 0, None), axis=1)

    def select(self, chosen: np.ndarray) -> "Scene":
        """The same image with some of its instances."""
        return Scene(
            self.image,
            self.boxes[chosen],
            self.labels[chosen],
            self.ignored[chosen],
            None if self.masks is None else self.masks[chosen],
        )


def read_scene(results: dict[str, Any]) -> Scene:
    """The scene of a pipeline's sample."""
    boxes, masks = results["gt_bboxes"], results.get("gt_masks")
    boxes = boxes.tensor if isinstance(boxes, HorizontalBoxes) else torch.as_tensor(boxes)
    return Scene(
        results["img"],
        boxes.numpy().astype(np.float32).reshape(-1, 4),
        np.asarray(results["gt_bboxes_labels"]),
        np.asarray(results["gt_ignore_flags"], bool),
        None if masks is None else masks.to_ndarray().astype(bool).reshape(-1, *masks_size(masks)),
    )


def masks_size(masks: Any) -> tuple[int, int]:
    """Height and width of mmdet's masks, of which there may be none."""
    return masks.height, masks.width


def write_scene(scene: Scene, results: dict[str, Any]) -> dict[str, Any]:
    """Puts a scene into a pipeline's sample."""
    results.update(
        img=scene.image,
        img_shape=scene.size,
        gt_bboxes=HorizontalBoxes(torch.from_numpy(scene.boxes)),
        gt_bboxes_labels=scene.labels,
        gt_ignore_flags=scene.ignored,
    )
    if scene.masks is not None:
        results["gt_masks"] = BitmapMasks(scene.masks.astype(np.uint8), *scene.size)
    return results


def extents(masks: np.ndarray) -> np.ndarray:
    """The boxes of masks (n, height, width) that are not empty, float32 (n, 4)."""
    boxes = np.zeros((len(masks), 4), np.float32)
    for first, axis in ((0, 1), (1, 2)):  # columns, then rows
        lines = masks.any(axis)
        boxes[:, first] = lines.argmax(1)
        boxes[:, first + 2] = lines.shape[1] - lines[:, ::-1].argmax(1)
    return boxes


def keep_visible(scene: Scene, shares: np.ndarray) -> Scene:
    """Drops instances of which too little is left, and gives masks their boxes.

    Args:
        scene: After a change.
        shares: Share of each instance that is left after it, 0 to 1 (n,).
    """
    there = scene.areas() > 0
    if scene.masks is None:
        there = ((scene.boxes[:, 2:] - scene.boxes[:, :2]) >= 1).all(1)
    kept = scene.select(there & ((shares >= MIN_VISIBLE) | scene.ignored))
    if kept.masks is None:
        return kept
    return Scene(kept.image, extents(kept.masks), kept.labels, kept.ignored, kept.masks)


def cut(scene: Scene, tile: Tile) -> Scene:
    """The part of a scene that a tile shows, in the tile's size and pixels."""
    left, top, right, bottom = tile.window
    image = tile.cut(scene.image)
    scale = np.array([tile.size[1] / (right - left), tile.size[0] / (bottom - top)] * 2)
    boxes = np.clip(scene.boxes, (left, top, left, top), (right, bottom, right, bottom))
    masks = None
    if scene.masks is None:
        inside = Scene(image, boxes, scene.labels, scene.ignored, None).areas()
    else:
        inside = scene.masks[:, top:bottom, left:right].sum((1, 2))
        masks = np.array([tile.cut(m.astype(np.uint8), nearest=True) for m in scene.masks], bool)
        masks = masks.reshape(-1, *tile.size)
    moved = ((boxes - (left, top, left, top)) * scale).astype(np.float32)
    part = Scene(image, moved, scene.labels, scene.ignored, masks)
    return keep_visible(part, inside / np.maximum(scene.areas(), 1e-6))


def compose(size: tuple[int, int], tiles: list[Tile], parts: list[Scene]) -> Scene:
    """Parts beside each other on a canvas of (height, width), which they cover."""
    first = parts[0].image
    image = np.zeros((*size, *first.shape[2:]), first.dtype)
    boxes, masks = [], []
    for tile, part in zip(tiles, parts, strict=True):
        tile.put(image, part.image)
        boxes.append(part.boxes + np.array(tile.place[:2] * 2, np.float32))
        if part.masks is not None:
            placed = np.zeros((len(part.masks), *size), bool)
            for canvas, mask in zip(placed, part.masks, strict=True):
                tile.put(canvas, mask)
            masks.append(placed)
    return Scene(
        image,
        np.concatenate(boxes),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.ignored for part in parts]),
        np.concatenate(masks) if masks else None,
    )
