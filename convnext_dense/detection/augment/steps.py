"""Steps of a training pipeline: copy-paste, mosaic, and a check of instances after a crop."""

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from convnext_dense.detection.augment.scene import (
    Scene,
    compose,
    cut,
    extents,
    keep_visible,
    read_scene,
    write_scene,
)
from convnext_dense.finetune.mixing import MixingStep, MosaicStep, Tile


@TRANSFORMS.register_module()
class TidyInstances(BaseTransform):
    """Gives masks their boxes, and drops what a crop or a resize left nothing of.

    mmdet's crop keeps an object whose box it touches, also where it cut the whole mask away.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Changes boxes, masks, labels and flags of the sample."""
        scene = read_scene(results)
        return write_scene(keep_visible(scene, np.ones(len(scene.labels))), results)


@TRANSFORMS.register_module()
class InstanceMosaic(MosaicStep):
    """Four images in one with their instances."""

    def combine(
        self, results: dict[str, Any], samples: list[dict[str, Any]], tiles: list[Tile]
    ) -> dict[str, Any]:
        """See the base; an object of which the tile shows too little is dropped."""
        parts = [cut(read_scene(one), tile) for one, tile in zip(samples, tiles, strict=True)]
        return write_scene(compose(self.size, tiles, parts), results)


@TRANSFORMS.register_module()
class PasteObjects(MixingStep):
    """Objects of another image, pasted at random places by their masks.

    Simple Copy-Paste (https://arxiv.org/abs/2012.07177), whose objects keep the place that they
    have in images of one size; here images have any size, and objects any place. What they cover
    is cut from the masks below. Ours and not mmdet's CopyPaste, which needs images of one size,
    pastes ignored regions too, and keeps covered objects without a pixel.

    Args:
        most: At most so many objects are pasted.
    """

    def __init__(self, most: int = 10) -> None:
        self.most = most

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Pastes some of another image's objects, at least one where it has any."""
        other = self.another()
        if other is None:
            return results
        target, source = read_scene(results), read_scene(other)
        able = np.flatnonzero(~source.ignored & (source.areas() > 0))
        if not len(able):
            return results
        count = np.random.randint(1, min(len(able), self.most) + 1)
        chosen = np.random.choice(able, count, replace=False)
        return write_scene(paste(target, source.select(chosen)), results)


def paste(target: Scene, source: Scene) -> Scene:
    """Pastes all objects of a scene onto another one, each at a random place.

    One that fits lies inside as a whole; of a larger one the image shows a part.
    """
    pasted = [
        _place(source.image, mask, box, target.size)
        for mask, box in zip(source.masks, extents(source.masks).astype(int), strict=True)
    ]
    image, masks = target.image.copy(), [*target.masks]
    whole = [*target.areas(), *source.areas()]
    for mask, pixels in pasted:
        image[mask] = pixels
        masks = [below & ~mask for below in masks] + [mask]
    joined = np.array(masks, bool).reshape(-1, *target.size)
    scene = Scene(
        image,
        np.zeros((len(joined), 4), np.float32),  # from the masks, below
        np.concatenate([target.labels, source.labels]),
        np.concatenate([target.ignored, source.ignored]),
        joined,
    )
    return keep_visible(scene, scene.areas() / np.maximum(whole, 1))


def _place(
    image: np.ndarray, mask: np.ndarray, box: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """An object's mask at a random place of (height, width), and its pixels there."""
    left, top, right, bottom = box
    moves = []
    for side, start, end in ((size[0], top, bottom), (size[1], left, right)):
        room = side - (end - start)
        moves.append(np.random.randint(min(room, 0), max(room, 0) + 1) - start)
    rows, columns = np.nonzero(mask)
    new_rows, new_columns = rows + moves[0], columns + moves[1]
    inside = (new_rows >= 0) & (new_rows < size[0]) & (new_columns >= 0) & (new_columns < size[1])
    placed = np.zeros(size, bool)
    placed[new_rows[inside], new_columns[inside]] = True
    # np.nonzero goes row by row, as indexing with a mask does: a shift keeps the order.
    return placed, image[rows[inside], columns[inside]]
