"""A dataset of images and label images that a file names, wherever they lie."""

import os

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from convnext_dense.data.layouts.pairs_file import read_pairs


@DATASETS.register_module()
class ListedPairs(BaseSegDataset):
    """mmsegmentation's dataset, whose files are those of ``ann_file``, in the order there.

    Args:
        ann_file: A file of :func:`convnext_dense.data.layouts.pairs_file.write_pairs`. Its names
            are relative to ``data_prefix.img_path``.
    """

    def load_data_list(self) -> list[dict]:
        """One entry for each pair."""
        folder = self.data_prefix["img_path"]
        return [
            dict(
                img_path=os.path.join(folder, image),
                seg_map_path=os.path.join(folder, label),
                label_map=self.label_map,
                reduce_zero_label=self.reduce_zero_label,
                seg_fields=[],
            )
            for image, label in read_pairs(self.ann_file).pairs
        ]
