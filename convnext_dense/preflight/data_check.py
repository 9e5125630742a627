"""The quick check of the data before every run, before a model is built.

A sample of each split is opened, spread evenly; ``--scan`` opens all. The names of files and
folders were checked before, when the config was fitted to the data.
"""

from mmengine.config import Config

from convnext_dense.data.image_scan import OpenedImage
from convnext_dense.tasks import task_of

SPLITS = ("train", "val")


def check_data(cfg: Config, scan: bool = False) -> dict[str, list[OpenedImage]]:
    """Opens images and ground truth of the training and validation data.

    Args:
        cfg: A resolved config.
        scan: Open all of them, in several processes.

    Returns:
        What was opened, by split.

    Raises:
        UserError: For images or labels that cannot be read or have another size than they
            should, for labels beyond the classes, and where ``reduce_zero_label`` contradicts them.
    """
    task = task_of(cfg)
    return {
        split: [
            image
            for dataset in task.datasets(cfg, split)
            for image in task.check_images(cfg, dataset, every=scan, training=split == "train")
        ]
        for split in SPLITS
    }
