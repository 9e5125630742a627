"""Augmentation from the run's seed, the epoch and the image: whoever reads it, and whenever.

The toolboxes' transforms draw from global random numbers, which go on from image to image in
each process: the next numbers depend on how many workers there are, and a resumed run's workers
begin anew. Here a seed travels with every index that a loader hands out, and the global numbers
are borrowed for one image at a time.
"""

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

from torch.utils.data import BatchSampler, DataLoader, Dataset

from convnext_dense.data.seeded_random import seeded_random


class SeededBatches:
    """The batches of an epoch, each index with its seed, from any place inside the epoch on.

    Args:
        batch_sampler: Yields lists of indices.
        seed: The run's seed, equal in all processes.
    """

    def __init__(self, batch_sampler: BatchSampler, seed: int) -> None:
        self.batch_sampler = batch_sampler
        self.seed = seed
        self.start(epoch=0)

    def start(self, epoch: int, skip: int = 0) -> None:
        """Says which epoch the next pass is, and how many of its batches it leaves out."""
        self.epoch = epoch
        self.skip = skip

    @property
    def sampler(self):
        """What draws the indices."""
        return self.batch_sampler.sampler

    def __len__(self) -> int:
        """The batches of a whole epoch."""
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Yields lists of (index, seed)."""
        # A sampler may draw an image twice: another view of it, in whatever process.
        sampler = getattr(self.batch_sampler, "sampler", None)
        times = sampler.earlier_copies() if hasattr(sampler, "earlier_copies") else Counter()
        for number, batch in enumerate(self.batch_sampler):
            drawn = []
            for index in batch:
                drawn.append((index, times[index]))
                times[index] += 1
            if number >= self.skip:
                yield [(index, self._seed(index, time)) for index, time in drawn]

    def _seed(self, index: int, time: int) -> int:
        # A text goes through SHA-512: neighbours get seeds that have nothing in common.
        return random.Random(f"{self.seed} {self.epoch} {index} {time}").getrandbits(32)


class SeededDataset(Dataset):
    """A dataset whose images draw from the seed beside their index; all else is the dataset's.

    Also what a dataset takes for an image that its pipeline gives up (mmdet) comes from there.

    Args:
        dataset: Any dataset with indices.
    """

    def __init__(self, dataset: Dataset) -> None:
        vars(self)["dataset"] = dataset

    def __getitem__(self, item: tuple[int, int]) -> Any:
        """The sample of (index, seed)."""
        index, seed = item
        with seeded_random(seed):
            return self.dataset[index]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "dataset" not in vars(self):  # while it is unpickled
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.dataset, name, value)  # hooks replace pipelines


def seeded(loader: DataLoader, seed: int) -> DataLoader:
    """The same loader with a seed for every image."""
    return DataLoader(
        dataset=SeededDataset(loader.dataset),
        batch_sampler=SeededBatches(loader.batch_sampler, seed),
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        worker_init_fn=loader.worker_init_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        multiprocessing_context=loader.multiprocessing_context,
        generator=loader.generator,
        prefetch_factor=loader.prefetch_factor,
        persistent_workers=loader.persistent_workers,
    )
