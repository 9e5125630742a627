"""Mosaics of images with label images."""

from typing import Any

import numpy as np
from mmengine.registry import TRANSFORMS

from convnext_dense.finetune.mixing import MosaicStep, Tile


@TRANSFORMS.register_module()
class LabelMosaic(MosaicStep):
    """Four images in one with their labels."""

    def combine(
        self, results: dict[str, Any], samples: list[dict[str, Any]], tiles: list[Tile]
    ) -> dict[str, Any]:
        """Image and labels are cut alike; a label stays what it is."""
        fields = ("img", *results["seg_fields"])
        canvases = {
            key: np.zeros((*self.size, *results[key].shape[2:]), results[key].dtype)
            for key in fields
        }
        for sample, tile in zip(samples, tiles, strict=True):
            for key in fields:
                tile.put(canvases[key], tile.cut(sample[key], nearest=key != "img"))
        results.update(canvases, img_shape=self.size)
        return results
