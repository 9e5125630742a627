"""The batch of a run on own data that are fewer than one, where the schedule counts epochs."""

from math import ceil

from mmengine.config import Config

from convnext_dense.data.check_images import build_dataset
from convnext_dense.data.fit_schedule import batch_of, iterations_per_epoch


def fit_batch(cfg: Config, processes: int) -> int:
    """Lowers the batch to what an epoch has where that makes no batch; in place.

    It is even where it can be: mixup pairs the images of a batch.

    Args:
        cfg: A config that was fitted to its data.
        processes: Number of training processes.

    Returns:
        The number of training images.
    """
    loader, batch = cfg.train_dataloader, batch_of(cfg, processes)
    images = len(build_dataset(cfg, loader.dataset))
    sampler = loader.get("sampler") or {}
    if images and not iterations_per_epoch(cfg, images, batch):
        share = ceil(sampler.get("epoch_images", images) / processes)
        loader.batch_size = share - share % 2 or 1
        if "step_size" in sampler:
            sampler.step_size = loader.batch_size * batch.accumulated
    return images
